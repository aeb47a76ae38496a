"""Keep what `niwaki bench spur` left in its folders.   python bench/spur.py FOLDER [FOLDER ...]

The runs themselves are made by, for instance,

    export NIWAKI_DATA=DATA
    niwaki bench spur --task sst2 --encoder DATA/encoders/minilm-l6 --rows 12800 --epochs 1 --out runs/spur

which stops and goes on at will. Here the results of all jobs go into one file, with the machine that this command runs
on; the tables of docs/spur.md are made of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ledger import keep

from niwaki.bench import results
from niwaki.bench.spur import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    found = [row for folder in parser.parse_args().folders for row in results.read_all(folder / "jobs")]
    if not found:
        parser.error("no results in these folders")
    figures = {}
    for (task, encoder), rows in table.by_task(found).items():
        shares, measure = table.shares_of(rows), rows[0]["measure"]
        for line in table.lines(rows, shares):
            scores = {f"{share:g}": line.score(share, measure) for share in (0.0, *shares)}
            figures[f"{encoder} {task}: {line.title}"] = scores
    keep("spur", figures, found)


if __name__ == "__main__":
    main()
