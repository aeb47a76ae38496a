"""GReg-1 against one-shot L1 where it is hard: a tenth and a fiftieth of the multiply-adds.

    python bench/harder_ratio.py [--targets 0.1:8 0.02:1]

Starts from the dense networks and recipes that bench/demo_seeds.py left (run that first): same data, same schedule,
same fine-tuning for both methods, another target (share of the multiply-adds : widths rounded to).
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
    parser.add_argument("--targets", nargs="+", default=["0.1:8", "0.02:1"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--demos", default="runs/bench-demo")
    options = parser.parse_args()
    figures, raw = {}, {}
    for target in options.targets:
        runs = [_entries(Path(options.demos) / f"seed{seed}", target) for seed in options.seeds]
        figures[target] = {"seeds": options.seeds, **_figures(runs)}
        raw[target] = [{n: {k: e[k] for k in ("accuracy", "macs", "seconds")} for n, e in r.items()} for r in runs]
    keep("harder_ratio", figures, raw)


def _figures(runs: list[dict[str, dict]]) -> dict[str, object]:
    figures: dict[str, object] = {}
    for name in ("dense", "magnitude", "greg1"):
        values = [100 * run[name]["accuracy"] for run in runs]
        figures[f"{name}_accuracy"] = [round(v, 2) for v in values]
        figures[f"{name}_mean"] = round(statistics.mean(values), 2)
        figures[f"{name}_std"] = round(statistics.stdev(values), 2) if len(values) > 1 else None
    figures["macs_share"] = [round(r["greg1"]["macs"] / r["dense"]["macs"], 4) for r in runs]
    gains = [100 * (r["greg1"]["accuracy"] - r["magnitude"]["accuracy"]) for r in runs]
    figures["greg1_gain_points"] = [round(g, 2) for g in gains]
    figures["greg1_gain_mean"] = round(statistics.mean(gains), 2)
    return figures


def _entries(demo: Path, target: str) -> dict[str, dict]:
    macs, _, multiple = target.partition(":")
    out = demo.with_name(f"{demo.name}-macs{macs}")
    if not (out / "finished").is_file():
        changes = [f"method.{k}.target={{macs: {macs}, round_to: {multiple or 1}}}" for k in (0, 1)] + [
            "measure.runs=0"
        ]
        sets = [word for change in changes for word in ("--set", change)]
        subprocess.run(
            [sys.executable, "-m", "niwaki", "prune", str(demo / "recipe.yaml"), "--out", str(out), *sets], check=True
        )
        (out / "finished").touch()
    return {e["name"]: e for e in json.loads((out / "report.json").read_text())["entries"]}


if __name__ == "__main__":
    main()
