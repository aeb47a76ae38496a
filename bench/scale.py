"""Keep what `niwaki bench scale` left in its folders.   python bench/scale.py FOLDER [FOLDER ...]

The measurements themselves are made by, for instance,

    niwaki bench scale steps --out runs/scale
    niwaki bench scale curves --out runs/scale
    niwaki bench scale memory --out runs/scale

which go on where they were stopped. Here all results go into one file, with the machine that this command runs on; the
tables of docs/distributed.md and docs/big-models.md are made of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ledger import keep

from niwaki.bench.results import read_all
from niwaki.bench.scale import table
from niwaki.bench.scale.memory import figures as of_memory
from niwaki.bench.scale.study import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    folders = parser.parse_args().folders
    raw = {work: [told for folder in folders for told in read(folder, work)] for work in ("steps", "curves")}
    raw["memory"] = sorted((row for f in folders for row in read_all(f / "memory")), key=lambda row: row["params"])
    if not any(raw.values()):
        parser.error("no results in these folders")
    figures = {
        "added": [dict(zip(head, row, strict=True)) for head, *rows in [table.added(raw["steps"])] for row in rows],
        "verdict": table.verdict(raw["steps"]),
        "curves": [dict(zip(head, row, strict=True)) for head, *rows in [table.curves(raw["curves"])] for row in rows],
        "memory": of_memory(raw["memory"]),
    }
    # Seconds of single steps stay in the folder: they are many, and the medians are of them.
    raw["steps"] = [{key: value for key, value in told.items() if key != "seconds"} for told in raw["steps"]]
    keep("scale", figures, raw)


if __name__ == "__main__":
    main()
