"""Keep the table of fault trials.   niwaki bench scale faults --out runs/faults; python bench/faults.py [runs/faults …]

The trials are made by the command line, which goes on where it was stopped; this counts them, of several folders if
they were made in several, and keeps the sums. Which kill came when follows from the seed of a trial (setting, method,
number) and from the speed of the machine.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from ledger import keep

from niwaki.bench.results import Result
from niwaki.bench.scale import faults
from niwaki.bench.scale.faults_table import figures


def by_kind(trials: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Sums of each kind of trial."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in trials:
        for key, value in (("tried", 1), ("survived", int(row["survived"]))):
            sums[row["kind"]][key] += value
        for key in ("kills", "writing", "damaged"):
            sums[row["kind"]][key] += row[key]
    return {kind: dict(found) for kind, found in sorted(sums.items())}


def summary(found: Result) -> dict[str, Any]:
    """Of one method in one setting: sums, and each trial that was lost."""
    lost = [row for row in found["trials"] if not row["survived"]]
    told = {"setting": found["setting"], "method": found["method"], "steps": found["steps"]}
    return {
        **told,
        "undisturbed_s": round(found["seconds"], 3),
        "missed": found["missed"],
        "kinds": by_kind(found["trials"]),
        "lost": lost,
    }


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or [Path("runs/faults")]
    found = [each for folder in folders for each in faults.read(folder) if each["trials"] and not each["fault"]]
    keep("faults", figures(found), [summary(each) for each in found])


if __name__ == "__main__":
    main()
