"""The plan of most worth within a budget, as a mixed-integer program, solved by HiGHS."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from niwaki.errors import UnreachableTarget
from niwaki.forecast.levels import Costs

logger = logging.getLogger("niwaki")

_GAP = 1e-3  # of the best worth may be missed
_SECONDS = 60.0
_OUT_OF_TIME = 1  # as scipy numbers it


def solve(worth: Sequence[np.ndarray], costs: Costs, budget: float) -> list[int] | None:
    """A level for each group, so that their worth is the most of all that cost ``budget`` milliseconds at most; None if
    nothing is that cheap.

    Raises:
        UnreachableTarget: in a minute none was found, cheap enough or not.

    One variable of 0 or 1 for each level of each group, and one of 0 to 1 for each entry of a table of two groups: its
    rows and columns add up to the levels of those, so that it is 1 exactly where both are chosen.
    """
    program = _Program(worth, costs)
    found = milp(
        c=program.gain,
        constraints=[
            LinearConstraint(program.equations, program.right, program.right),
            LinearConstraint(program.price[None, :], -np.inf, budget - costs.fixed),
        ],
        integrality=program.whole,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
    )
    if found.x is None and found.status == _OUT_OF_TIME:
        raise UnreachableTarget(f"no plan was found in {_SECONDS:.0f} seconds: allow fewer groups (only, skip)")
    if found.x is None:
        return None
    if found.status == _OUT_OF_TIME:
        logger.warning("the best plan was not proven in %.0f seconds; one that is quick enough is taken", _SECONDS)
    return [int(np.argmax(found.x[a:b])) for a, b in program.places]


class _Program:
    """``gain`` (to be minimised) and ``price`` of each variable; ``equations`` = ``right``; ``whole``: which are
    integers; ``places``: where each group's levels lie."""

    def __init__(self, worth: Sequence[np.ndarray], costs: Costs) -> None:
        sizes = [len(levels) for levels in worth]
        ends = list(accumulate(sizes))
        self.places = list(zip([0, *ends[:-1]], ends, strict=True))
        tables = list(costs.together.items())
        count = ends[-1] + sum(table.size for _, table in tables)
        self.gain, self.price, self.whole = np.zeros(count), np.zeros(count), np.zeros(count, np.int64)
        self.gain[: ends[-1]] = -np.concatenate(worth)
        self.whole[: ends[-1]] = 1
        for g, row in costs.alone.items():
            self.price[slice(*self.places[g])] += row
        rows: list[tuple[list[int], list[float]]] = [(list(range(a, b)), [1.0] * (b - a)) for a, b in self.places]
        self._right = [1.0] * len(rows)
        start = ends[-1]
        for pair, table in tables:
            here = np.arange(start, start + table.size).reshape(table.shape)
            self.price[here.ravel()] = table.ravel()
            rows += self._margins(here, self.places[pair.left][0])
            rows += self._margins(here.T, self.places[pair.right][0])
            start += table.size
        self.right = np.array([*self._right, *[0.0] * (len(rows) - len(self._right))])
        self.equations = _matrix(rows, count)

    @staticmethod
    def _margins(here: np.ndarray, first: int) -> list[tuple[list[int], list[float]]]:
        """Each row of a table adds up to its level."""
        return [([*line.tolist(), first + k], [*[1.0] * line.size, -1.0]) for k, line in enumerate(here)]


def _matrix(rows: Sequence[tuple[list[int], list[float]]], width: int) -> sparse.csr_array:
    columns = [c for found, _ in rows for c in found]
    values = [v for _, found in rows for v in found]
    starts = np.cumsum([0, *(len(found) for found, _ in rows)])
    return sparse.csr_array((values, columns, starts), shape=(len(rows), width))


__all__ = ["solve"]
