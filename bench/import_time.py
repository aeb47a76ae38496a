"""What does `import niwaki` cost on top of `import torch`?   python bench/import_time.py [--runs 15]

Fresh processes, interleaved, medians. "first use" also loads what `nk.trace` and `nk.plan` need.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from ledger import keep

CLOCK = "import time; s = time.perf_counter(); {body}; print(time.perf_counter() - s)"
BODIES = {
    "torch": "import torch",
    "torch and niwaki": "import torch, niwaki",
    "torch, niwaki and first use": "import torch, niwaki as nk; nk.trace, nk.plan, nk.certify, nk.Pruning",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in BODIES}
    for _ in range(runs + 1):
        for name, body in BODIES.items():
            done = subprocess.run(
                [sys.executable, "-c", CLOCK.format(body=body)], capture_output=True, text=True, check=True
            )
            seconds[name].append(float(done.stdout))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first warms the disk
    figures = {
        "torch_s": round(medians["torch"], 3),
        "niwaki_on_top_s": round(medians["torch and niwaki"] - medians["torch"], 3),
        "first_use_on_top_s": round(medians["torch, niwaki and first use"] - medians["torch"], 3),
        "runs": runs,
    }
    keep("import_time", figures, seconds)


if __name__ == "__main__":
    main()
