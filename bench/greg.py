"""Keep what `niwaki bench greg` left in its folders.   python bench/greg.py FOLDER [FOLDER ...]

The runs themselves are made by, for instance,

    niwaki bench greg --row 'resnet20-*' --data cifar10 --base resnet20.th --fast --out runs/resnet20

which stops and goes on at will. Here the results of all jobs go into one file, beside those that are there already,
which they replace, with the machine that this command runs on; the table of docs/greg.md is made of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import kept
from ledger import keep

from niwaki.bench.greg import table
from niwaki.bench.greg.contestants import CONTESTANTS
from niwaki.bench.greg.rows import ROWS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    new = [result for folder in parser.parse_args().folders for result in table.read(folder)]
    if not new:
        parser.error("no results in these folders")
    results = table.joined((kept.read("greg") or {"raw": []})["raw"], new)
    found = [line for line in table.lines(results, ROWS, list(CONTESTANTS)) if line["seeds"]]
    figures = {
        f"{line['row']} {line['contestant']}": {"accuracy": line["accuracy"], "speedup": round(line["speedup"], 3)}
        for line in found
    }
    keep("greg", figures, results)


if __name__ == "__main__":
    main()
