"""The patterns of many matrices in a few figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from niwaki.errors import BadInput

from .chance import gini_by_chance, spread_by_chance
from .pattern import Pattern

__all__ = ["Summary", "summary"]


@dataclass(frozen=True)
class Summary:
    """Many matrices together. Means are weighted by the number of weights of a matrix, dead or alive.

    Args:
        matrices, weights, survivors: how many.
        gini_rows, gini_columns, spread_rows, spread_columns: means of the matrices' own figures.
        empty_rows, empty_columns: the share of all rows (columns) that have no survivor, in [0, 1].
        gini_rows_by_chance, …: what the means would be about, if in every matrix as many weights had survived by
            chance.
    """

    matrices: int
    weights: int
    survivors: int
    gini_rows: float
    gini_columns: float
    spread_rows: float
    spread_columns: float
    empty_rows: float
    empty_columns: float
    gini_rows_by_chance: float
    gini_columns_by_chance: float
    spread_rows_by_chance: float
    spread_columns_by_chance: float

    @property
    def sparsity(self) -> float:
        """The share of all weights that are zero, in [0, 1]."""
        return 1 - self.survivors / self.weights


def summary(patterns: Mapping[str, Pattern] | Iterable[Pattern]) -> Summary:
    """The figures of all these matrices together, given by name or one after another.

    Raises:
        BadInput: there are none.
    """
    found = list(patterns.values() if isinstance(patterns, Mapping) else patterns)
    if not found:
        raise BadInput("a summary needs the pattern of one matrix at least")
    weights = sum(p.weights for p in found)

    def mean(of: Callable[[Pattern], float]) -> float:
        return sum(p.weights * of(p) for p in found) / weights

    return Summary(
        len(found), weights, sum(p.survivors for p in found),
        mean(lambda p: p.gini_rows), mean(lambda p: p.gini_columns),
        mean(lambda p: p.spread_rows), mean(lambda p: p.spread_columns),
        sum(p.empty_rows for p in found) / sum(p.rows for p in found),
        sum(p.empty_columns for p in found) / sum(p.columns for p in found),
        mean(lambda p: gini_by_chance(*_row(p))), mean(lambda p: gini_by_chance(*_column(p))),
        mean(lambda p: spread_by_chance(*_row(p))), mean(lambda p: spread_by_chance(*_column(p))),
    )  # fmt: skip


def _row(pattern: Pattern) -> tuple[int, float]:
    """Weights of a row, and the share of all that survive."""
    return pattern.columns * pattern.positions, 1 - pattern.sparsity


def _column(pattern: Pattern) -> tuple[int, float]:
    return pattern.rows * pattern.positions, 1 - pattern.sparsity
