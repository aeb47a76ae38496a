"""Keep what `niwaki bench speed` left in its folders.   python bench/speed.py FOLDER [FOLDER ...]

The measurements themselves are made by, for instance,

    niwaki bench speed --runtime onnxruntime --batch 1 --minutes 60 --out runs/speed

which stops and goes on at will. Here all cells go into one file, without the times of single rounds, with the machine
that this command runs on; the table of docs/speed.md is made of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ledger import keep

from niwaki.bench.speed import table, verdicts
from niwaki.bench.speed.study import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    cells = [cell for folder in parser.parse_args().folders for cell in read(folder)]
    if not cells:
        parser.error("no results in these folders")
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


if __name__ == "__main__":
    main()
