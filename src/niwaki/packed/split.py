"""How a matrix with zeros is split into a dense core of rows × columns and a sparse rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from niwaki.errors import unknown_key
from niwaki.packed.sizes import Sizes

FORMS = ("dense", "rows", "columns", "rows_columns", "sparse", "core_sparse")
"""``rows``, ``columns``, ``rows_columns``: without the empty ones. ``sparse``: entry by entry. ``core_sparse``: the
fullest rows × columns dense, and what is outside entry by entry."""

SPARSE_COST = 3.0
"""A multiply-add on single entries costs about so many in a dense product (one core, float32, 64 columns at once)."""


@dataclass(frozen=True, eq=False)
class Split:
    """``rows``, ``columns``: ascending indices of the core, None for all. ``rest``: bool of the matrix's shape, true at
    entries that are kept one by one."""

    rows: np.ndarray | None
    columns: np.ndarray | None
    rest: np.ndarray

    def sizes(self, *, transposed: bool = False) -> Sizes:
        outputs, inputs = self.rest.shape
        rows, columns = (None if index is None else int(index.size) for index in (self.rows, self.columns))
        return Sizes(outputs, inputs, rows, columns, int(self.rest.sum()), transposed)


def split(alive: np.ndarray, form: str) -> Split:
    """The split of a matrix whose entries are not zero where ``alive`` (bool, outputs × inputs) is true.

    Raises:
        BadInput: there is no such form.
    """
    nothing = np.zeros_like(alive)
    if form == "dense":
        return Split(None, None, nothing)
    if form == "sparse":
        return _clipped(alive, np.zeros(0, np.int64), np.zeros(0, np.int64))
    if form == "core_sparse":
        return _clipped(alive, *fullest(alive))
    if form not in FORMS:
        raise unknown_key("the table of forms", form, FORMS)
    rows, columns = (np.flatnonzero(alive.any(axis)) for axis in (1, 0))
    if rows.size == 0:  # either way nothing is left
        return Split(rows, columns, nothing)
    return Split(
        _unless_all(rows, len(alive)) if form != "columns" else None,
        _unless_all(columns, alive.shape[1]) if form != "rows" else None,
        nothing,
    )


def fullest(alive: np.ndarray, price: float = SPARSE_COST) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns (ascending indices of each) of the core for which ``rows × columns + price × entries
    outside`` is least, of those that are met when the row or the column with the least share of entries inside is
    dropped again and again. Ties: rows before columns, then by index."""
    lines = [_Lines(alive.sum(1)), _Lines(alive.sum(0))]
    total = inside = int(lines[0].counts.sum())
    dropped: list[tuple[int, int]] = []
    costs = [float(alive.size)]
    least = costs[0]
    while any(each.left for each in lines) and costs[-1] - _gain(lines, inside, price) < least:
        axis, index, count = _emptiest(lines)
        lines[axis].drop(index)
        lines[1 - axis].lose(alive[index] if axis == 0 else alive[:, index])
        inside -= count
        dropped.append((axis, index))
        costs.append(lines[0].left * lines[1].left + price * (total - inside))
        least = min(least, costs[-1])
    best = int(np.argmin(costs))
    gone = [[index for axis, index in dropped[:best] if axis == k] for k in (0, 1)]
    rows, columns = (np.delete(np.arange(n), g) for n, g in zip(alive.shape, gone, strict=True))
    return rows, columns


class _Lines:
    """The rows (columns) that are left, and how many entries each has in the columns (rows) that are left."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts, self.left = counts.astype(np.int64), len(counts)
        self._least: list[int] = []  # last first: those with the least count, for as long as no count changes

    def emptiest(self) -> tuple[int, int]:
        """Index and count of the one with the least count, of equals the first."""
        if not self._least:
            self._least = np.flatnonzero(self.counts == self.counts.min())[::-1].tolist()
        return self._least[-1], int(self.counts[self._least[-1]])

    def drop(self, index: int) -> None:
        self._least.pop()
        self.counts[index] = np.iinfo(np.int64).max  # above any count, for good
        self.left -= 1

    def lose(self, entries: np.ndarray) -> None:
        """These entries (bool, one of each line) are inside no more."""
        self.counts -= entries
        self._least = []


def _emptiest(lines: list[_Lines]) -> tuple[int, int, int]:
    """The row (0, index) or the column (1, index) of which the least share is filled, and its count."""
    shares = []
    for axis in (0, 1):
        index, count = lines[axis].emptiest() if lines[axis].left else (0, 0)
        share = count / max(1, lines[1 - axis].left) if lines[axis].left else np.inf
        shares.append((share, axis, index, count))
    return min(shares)[1:]


def _gain(lines: list[_Lines], inside: int, price: float) -> float:
    """At most so much cheaper does it become by dropping more: what goes has at least the entries of one row or column,
    and of the zeros at most all that are inside."""
    rows, columns = lines[0].left, lines[1].left
    if price < 1:
        return float(rows * columns)
    return max(0.0, price * (rows * columns - inside) - (price - 1) * min(rows, columns))


def _clipped(alive: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Split:
    """Core and what is outside; a core of no rows or no columns is none."""
    if not rows.size or not columns.size:
        rows, columns = np.zeros(0, np.int64), np.zeros(0, np.int64)
    rest = alive.copy()
    rest[np.ix_(rows, columns)] = False
    return Split(_unless_all(rows, len(alive)), _unless_all(columns, alive.shape[1]), rest)


def _unless_all(index: np.ndarray, count: int) -> np.ndarray | None:
    return None if index.size == count else index
