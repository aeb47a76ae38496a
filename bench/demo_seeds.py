"""The demo over several seeds: dense, one-shot L1 and GReg-1.   python bench/demo_seeds.py [--seeds 0 1 2] [--out DIR]

Each seed is a whole `niwaki demo` in a process of its own (weights, order and augmentation of the images differ); one
that was finished before is taken from its folder. Both methods get the same target and the same fine-tuning; GReg-1
also gets its pressing phase, whose length is told. Latencies are those of each run, interleaved, on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ledger import keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", default="runs/bench-demo")
    options = parser.parse_args()
    reports = [_report(Path(options.out) / f"seed{seed}", seed) for seed in options.seeds]
    entries = [{e["name"]: e for e in r["entries"]} for r, _ in reports]
    figures: dict[str, object] = {"seeds": options.seeds, "seconds_each": [round(s) for _, s in reports]}
    for name in ("dense", "magnitude", "greg1"):
        values = [100 * run[name]["accuracy"] for run in entries]
        figures[f"{name}_accuracy"] = [round(v, 2) for v in values]
        figures[f"{name}_mean"] = round(statistics.mean(values), 2)
        figures[f"{name}_std"] = round(statistics.stdev(values), 2) if len(values) > 1 else None
    for name in ("magnitude", "greg1"):
        figures[f"{name}_macs_share"] = [round(r[name]["macs"] / r["dense"]["macs"], 4) for r in entries]
        figures[f"{name}_certificates_hold"] = all(r[name]["certificate"]["holds"] for r in entries)
        for k, timing in enumerate(entries[0][name]["latency"]):
            ratios = [r["dense"]["latency"][k]["median_ms"] / r[name]["latency"][k]["median_ms"] for r in entries]
            figures[f"{name}_speedup_{timing['runtime'].lower().replace(' ', '_')}"] = [round(v, 2) for v in ratios]
    figures["macs_ratio"] = round(entries[0]["dense"]["macs"] / entries[0]["greg1"]["macs"], 2)
    keep("demo_seeds", figures, [{n: _short(e) for n, e in run.items()} for run in entries])


def _report(folder: Path, seed: int) -> tuple[dict, float]:
    """The report of one seed, and how long the demo took (as noted when it ran)."""
    clock = folder / "seconds.json"
    if not clock.is_file():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "niwaki", "demo", "--out", str(folder), "--seed", str(seed)], check=True)
        clock.write_text(json.dumps(time.perf_counter() - start))
    return json.loads((folder / "report.json").read_text()), json.loads(clock.read_text())


def _short(entry: dict) -> dict:
    return {k: entry[k] for k in ("accuracy", "macs", "params", "file_bytes", "latency", "widths", "seconds")}


if __name__ == "__main__":
    main()
