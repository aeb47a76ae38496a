"""The table of the comparison: who is how good at which share of zeros, and where the others are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from niwaki.bench.spur.contestants import CONTESTANTS
from niwaki.bench.spur.study import asked_of, best
from niwaki.bench.spur.subjects import LOWER
from niwaki.bench.tables import Rows, drawn, markdown

Result = dict[str, Any]
_NEAR = 0.005  # of a share that was found, in old results: the last weight of a tensor stays


@dataclass(frozen=True)
class Line:
    """A contestant with the factor that was chosen for it.

    ``cells``: by share of zeros, the rounds of all seeds.
    """

    name: str
    alpha: float | None
    cells: Mapping[float, Sequence[Mapping[str, Any]]]

    @property
    def title(self) -> str:
        factor = "" if self.alpha is None else f", λ = {self.alpha:g}"
        return CONTESTANTS[self.name].title + factor

    def score(self, share: float, measure: str) -> str:
        """Mean and deviation in the measure's unit, and how many seeds."""
        scale = 1 if measure in LOWER else 100
        values = [scale * row["reported"][measure] for row in self.cells.get(share, ())]
        if not values:
            return ""
        around = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        return f"{mean(values):.1f}{around} ({len(values)})"

    def pattern(self, share: float, figure: str) -> str:
        """A figure of the pattern, the mean of rows and columns."""
        rows = [row["pattern"] for row in self.cells.get(share, ())]
        found = [(row[f"{figure}_rows"] + row[f"{figure}_columns"]) / 2 for row in rows]
        return f"{mean(found):.2f}" if found else ""


def unit(measure: str) -> str:
    """The measure, and in what its figures are."""
    return f"{measure} (less is better)" if measure in LOWER else f"{measure} in percent"


def by_task(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """Results of one task and encoder together."""
    found: dict[tuple[str, str], list[Result]] = {}
    for row in results:
        found.setdefault((row["task"], row["encoder"]), []).append(row)
    return found


def shares_of(results: Iterable[Result]) -> list[float]:
    """All shares of zeros that were asked for, ascending."""
    return sorted({share for row in results for share in row["shares"]})


def missing(results: Sequence[Result]) -> list[str]:
    """Titles of contestants that no task has seen."""
    there = {row["contestant"] for row in results}
    return [contestant.title for name, contestant in CONTESTANTS.items() if name not in there]


def lines(results: Iterable[Result], shares: Sequence[float]) -> list[Line]:
    """One for each contestant, in their order, with the factor that is best on what was held out."""
    by_name: dict[str, list[Result]] = {}
    for found in results:
        by_name.setdefault(found["contestant"], []).append(found)
    return [_line(name, by_name[name], shares) for name in CONTESTANTS if name in by_name]


def tried(results: Iterable[Result], shares: Sequence[float]) -> list[Line]:
    """One for each factor that was tried, of contestants that have several, with the first seed."""
    found: dict[str, dict[float, Result]] = {}
    for row in results:
        if row["seed"] == 0 and row["alpha"] is not None:
            found.setdefault(row["contestant"], {})[row["alpha"]] = row
    several = [(name, found[name]) for name in CONTESTANTS if len(found.get(name, ())) > 1]
    return [_with(name, alpha, [row], shares) for name, rows in several for alpha, row in sorted(rows.items())]


def _line(name: str, results: Sequence[Result], shares: Sequence[float]) -> Line:
    alpha = best([found for found in results if found["seed"] == 0 and found["alpha"] is not None])
    return _with(name, alpha, results, shares)


def _with(name: str, alpha: float | None, results: Sequence[Result], shares: Sequence[float]) -> Line:
    rows = [row for found in results if found["alpha"] == alpha for row in found["rounds"]]
    near = {share: [row for row in rows if abs(asked_of(row) - share) < _NEAR] for share in (0.0, *shares)}
    return Line(name, alpha, {share: found for share, found in near.items() if found})


def scores(found: Sequence[Line], shares: Sequence[float], measure: str) -> Rows:
    """Head and body."""
    head = ["", *(f"{share:.0%}" for share in (0.0, *shares))]
    return [head, *([line.title, *(line.score(share, measure) for share in (0.0, *shares))] for line in found)]


def patterns(found: Sequence[Line], shares: Sequence[float]) -> Rows:
    """Head and body: Gini coefficients of survivors per row and column, and the share of empty ones, at each share."""
    head = ["", *(f"Gini at {share:.0%}" for share in shares), *(f"empty at {share:.0%}" for share in shares)]
    body = [
        [
            line.title,
            *(line.pattern(share, "gini") for share in shares),
            *(line.pattern(share, "empty") for share in shares),
        ]
        for line in found
    ]
    return [head, *body]


__all__ = [
    "Line",
    "by_task",
    "drawn",
    "lines",
    "markdown",
    "missing",
    "patterns",
    "scores",
    "shares_of",
    "tried",
    "unit",
]
