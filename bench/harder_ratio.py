"""GReg-1 against one-shot L1 where it is hard: a tenth of the multiply-adds.

    python bench/harder_ratio.py [--macs 0.1]

Starts from the dense networks and recipes that bench/demo_seeds.py left (run that first): same data, same schedule,
same fine-tuning for both methods, widths rounded to 8, another target.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from ledger import keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--macs", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--demos", default="runs/bench-demo")
    options = parser.parse_args()
    runs = [_entries(Path(options.demos) / f"seed{seed}", options.macs) for seed in options.seeds]
    figures: dict[str, object] = {"seeds": options.seeds, "asked_macs_share": options.macs}
    for name in ("dense", "magnitude", "greg1"):
        values = [100 * run[name]["accuracy"] for run in runs]
        figures[f"{name}_accuracy"] = [round(v, 2) for v in values]
        figures[f"{name}_mean"] = round(statistics.mean(values), 2)
        figures[f"{name}_std"] = round(statistics.stdev(values), 2) if len(values) > 1 else None
    figures["macs_share"] = [round(r["greg1"]["macs"] / r["dense"]["macs"], 4) for r in runs]
    gains = [100 * (r["greg1"]["accuracy"] - r["magnitude"]["accuracy"]) for r in runs]
    figures["greg1_gain_points"] = [round(g, 2) for g in gains]
    figures["greg1_gain_mean"] = round(statistics.mean(gains), 2)
    keep(
        "harder_ratio",
        figures,
        [{n: {k: e[k] for k in ("accuracy", "macs", "seconds")} for n, e in r.items()} for r in runs],
    )


def _entries(demo: Path, macs: float) -> dict[str, dict]:
    out = demo.with_name(f"{demo.name}-macs{macs:g}")
    if not (out / "finished").is_file():
        changes = [f"method.{k}.target.macs={macs}" for k in (0, 1)] + ["measure.runs=0"]
        sets = [word for change in changes for word in ("--set", change)]
        subprocess.run(
            [sys.executable, "-m", "niwaki", "prune", str(demo / "recipe.yaml"), "--out", str(out), *sets], check=True
        )
        (out / "finished").touch()
    return {e["name"]: e for e in json.loads((out / "report.json").read_text())["entries"]}


if __name__ == "__main__":
    main()
