"""Keep what `niwaki bench speed` left in its folders.   python bench/speed.py FOLDER [FOLDER ...]

The measurements themselves are made by, for instance,

    niwaki bench speed --runtime onnxruntime --batch 1 --minutes 60 --out runs/speed

which stops and goes on at will. Here all cells go into one file, without the times of single rounds, beside those that
are there already, which they replace; the table of docs/speed.md is made of it. A folder's cells that do not name their
processor were made on the one that this command runs on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kept
from ledger import keep

from niwaki.bench.speed import table, verdicts
from niwaki.bench.speed.study import Study, read
from niwaki.measure.hardware import processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    new = [cell for folder in parser.parse_args().folders for cell in read(folder)]
    if not new:
        parser.error("no results in these folders")
    cells = joined((kept.read("speed") or {"raw": []})["raw"], [{"processor": processor(), **cell} for cell in new])
    figures = {
        "goals": table.sums(cells),
        **{
            f"{c['network']}, {c['runtime']}, batch {c['batch']}, {row['goal']}x, {row['way']}": {
                "speedup": round(row["speedup"], 3),
                "macs_ratio": round(row["macs_ratio"], 3),
            }
            for c in cells
            for row in c["variants"]
            if verdicts.timed(row)
        },
    }
    keep("speed", figures, [{key: value for key, value in cell.items() if key != "rounds_ms"} for cell in cells])


def joined(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells of both, the new one where both have it, in the order in which they are measured."""
    by_name = {(c["network"], c["runtime"], c["batch"]): c for c in (*old, *new)}
    known = [(each.network, each.runtime, each.batch) for each in Study(Path("runs")).cells]
    others = [name for name in by_name if name not in known]
    return [by_name[name] for name in (*known, *others) if name in by_name]


if __name__ == "__main__":
    main()
