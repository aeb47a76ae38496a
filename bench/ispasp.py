"""Keep what `niwaki bench ispasp` left in folders.   python bench/ispasp.py synthetic|mnist|time|heads FOLDER …

The runs themselves are made by

    niwaki bench ispasp synthetic --out runs/ispasp
    niwaki bench ispasp mnist --data FOLDER/mnist --fast --out runs/mnist
    niwaki bench ispasp time --out runs/ispasp
    niwaki bench ispasp heads --task sst2 --encoder FOLDER --out runs/ispasp

Here their results go into one file each, with the machine that this command runs on, and a plot beside it; the tables
of docs/ispasp.md are made of them. Of heads there may be several folders, one for each encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from ledger import RESULTS, keep

from niwaki.bench.ispasp import heads, plots, study, table, timing
from niwaki.bench.ispasp.settings import PAPER
from niwaki.bench.ispasp.synthetic import miss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=("synthetic", "mnist", "time", "heads"))
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    asked = parser.parse_args()
    if asked.figure == "heads":
        return pruned_heads(asked.folders)
    if len(asked.folders) > 1:
        parser.error(f"{asked.figure} is read from one folder")
    {"synthetic": synthetic, "mnist": mnist, "time": times}[asked.figure](asked.folders[0])


def synthetic(folder: Path) -> None:
    found = json.loads((folder / "synthetic.json").read_text())
    misses = {f"{curve['width']} units, p {curve['p']}": round(miss(curve), 4) for curve in found["curves"]}
    keep("ispasp_synthetic", {"mean_miss_log10": misses}, found)
    (RESULTS / "ispasp_synthetic.svg").write_text(plots.synthetic(found["curves"]) + "\n")


def mnist(folder: Path) -> None:
    results = study.read(folder)
    lines = table.means(results)
    settings = results[0]["settings"]
    long, as_dense = settings["dense"]["epochs"] == PAPER.dense.epochs, settings["tune"]["lr"] == PAPER.tune.lr
    name = "ispasp_mnist" + ("_paper" if long and as_dense else "_paper_faster" if long else "")
    keep(name, {f"{line['rival']} {line['keep']}": line for line in lines}, results)
    (RESULTS / f"{name}.svg").write_text(plots.accuracies(lines) + "\n")


def times(folder: Path) -> None:
    results = timing.read(folder)
    figures = {
        f"{r['channels']} channels, {r['contestant']}, {r['kept']:g}": statistics.median(r["core_s"]) for r in results
    }
    keep("ispasp_time", figures, results)
    (RESULTS / "ispasp_time.svg").write_text(plots.times(results) + "\n")


def pruned_heads(folders: Sequence[Path]) -> None:
    results = [row for folder in folders for row in heads.read(folder)]
    rows = table.kept_heads(results)
    figures = {f"{task}: {who}": dict(zip(rows[0][2:], cells, strict=True)) for task, who, *cells in rows[1:]}
    keep("ispasp_heads", figures, results)


if __name__ == "__main__":
    main()
