"""Do random networks stay the same when they are cut?   python bench/fuzz.py [--count 5000] [--seed 0] [--start 0]

Draws networks from the seeds SEED * 1,000,000 + START and on, and holds each to "no crash, no difference". Every
outcome goes to a journal, a line each, so that a run that was stopped goes on with ``--start``; faults are made small.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from ledger import keep
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from niwaki.graph.rules import RULES
from niwaki.testing.fuzz import KINDS, Genome, Outcome, attempt, draw, shrink
from niwaki.testing.fuzz.trial import FAULTS, HOLDS, NOTHING, UNFIT

BLOCK = 1_000_000
OFTEN = 6


class Faults:
    """Minimal faults, each kept once.

    A network that is sound without the genes of a fault that was met often is taken to show that one again; until then
    every fault is made small, because genes of one kind can fail for several reasons.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self.times: Counter[frozenset[str]] = Counter()

    def file(self, genome: Genome, outcome: Outcome) -> None:
        """Find what is at fault, and note it unless it is known."""
        for kinds in [k for k, times in self.times.items() if times >= OFTEN]:
            if not kinds <= _kinds(genome):
                continue
            self.times[kinds] += 1
            genome = genome.with_genes([gene for gene in genome.genes if gene.kind not in kinds])
            outcome = attempt(genome)
            if not outcome.fault:
                return
        smallest, shown = shrink(genome, outcome)
        self.times[_kinds(smallest)] += 1
        row = {"genome": str(smallest), "status": shown.status, "kind": shown.kind, "detail": shown.detail}
        self.found.setdefault(" ".join(map(str, smallest.genes)) + shown.kind, row)

    def look_again(self, genome: Genome) -> None:
        """File a fault that an earlier run met, if it is still there."""
        outcome = attempt(genome)
        if outcome.fault:
            self.file(genome, outcome)

    def rows(self) -> list[dict[str, Any]]:
        """The faults whose kinds of gene were met most often first; ``times`` counts all faults of those kinds."""
        rows = [{**row, "times": self.times[_kinds(Genome.parse(row["genome"]))]} for row in self.found.values()]
        return sorted(rows, key=lambda row: -row["times"])


def _kinds(genome: Genome) -> frozenset[str]:
    return frozenset(gene.kind for gene in genome.genes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="go on here; what the journal holds before it is kept")
    parser.add_argument("--journal", type=Path, help="default: fuzz-SEED.jsonl among the temporary files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    journal = args.journal or Path(tempfile.gettempdir()) / f"niwaki-fuzz-{args.seed}.jsonl"
    rows = _read(journal, args.start) if args.start else []
    faults = Faults()
    for row in rows:
        if row["status"] in FAULTS:
            faults.look_again(Genome.parse(row["genome"]))
    begun = time.perf_counter()
    with journal.open("a" if args.start else "w") as out:
        for number in _counted(range(args.start, args.count)):
            genome = draw(args.seed * BLOCK + number)
            outcome = attempt(genome)
            rows.append(outcome.to_json())
            out.write(json.dumps({"number": number, **rows[-1]}) + "\n")
            out.flush()
            if outcome.fault:
                faults.file(genome, outcome)
    seconds = time.perf_counter() - begun
    keep("fuzz", _figures(rows, faults, seconds, args.seed), {"faults": faults.rows(), **_spread(rows)})


def _counted(numbers: range) -> Iterable[int]:
    columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        yield from progress.track(numbers)


def _read(journal: Path, start: int) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return [row for row in rows if row["number"] < start]


def _figures(rows: list[dict[str, Any]], faults: Faults, seconds: float, seed: int) -> dict[str, Any]:
    status = Counter(row["status"] for row in rows)
    offered = [row["coverage"] for row in rows if row["status"] == HOLDS]
    times = [row["seconds"] for row in rows]
    ruled = set(RULES)
    met = {op.rstrip("_") for row in rows for op in row["ops"]}
    return {
        "networks": len(rows),
        "seed": seed,
        "holds": status[HOLDS],
        "nothing_to_prune": status[NOTHING],
        "differs": status["differs"],
        "crashes": status["crashes"],
        "unfit": status[UNFIT],
        "distinct_faults": len(faults.found),
        "kinds_of_gene": len({kind for row in rows for kind in row["used"]}),
        "kinds_there_are": len(KINDS),
        "operations": len(met),
        "operations_with_a_rule": len(met & ruled),
        "coverage_median": round(statistics.median(offered), 3) if offered else None,
        "seconds_median": round(statistics.median(times), 3),
        "seconds_p95": round(sorted(times)[int(0.95 * (len(times) - 1))], 3),
        "networks_per_second": round(len(rows) / sum(times), 2),
        "seconds_with_shrinking": round(seconds, 1),
    }


def _spread(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often each operation and each kind of gene was met, and how much of the networks could be pruned."""
    return {
        "operations": dict(Counter(op for row in rows for op in row["ops"]).most_common()),
        "genes": dict(Counter(kind for row in rows for kind in row["used"]).most_common()),
        "coverage": dict(sorted(Counter(round(row["coverage"], 1) for row in rows if row["status"] == HOLDS).items())),
        "unfit": [[row["genome"], row["detail"]] for row in rows if row["status"] == UNFIT],
    }


if __name__ == "__main__":
    main()
