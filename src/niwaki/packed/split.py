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
    inside = alive.astype(np.int64)
    counts = [inside.sum(1), inside.sum(0)]
    stays = [np.ones(n, bool) for n in alive.shape]
    total, dropped = int(inside.sum()), list[tuple[int, int]]()
    costs = [_cost(stays, total, total, price)]
    for _ in range(sum(alive.shape)):
        axis, index = _emptiest(counts, stays)
        dropped.append((axis, index))
        stays[axis][index] = False
        counts[1 - axis] -= inside[index] if axis == 0 else inside[:, index]
        within = int(counts[0][stays[0]].sum())
        costs.append(_cost(stays, within, total, price))
    best = int(np.argmin(costs))
    gone = [{index for axis, index in dropped[:best] if axis == k} for k in (0, 1)]
    rows, columns = (np.setdiff1d(np.arange(n), sorted(g)) for n, g in zip(alive.shape, gone, strict=True))
    return rows, columns


def _cost(stays: list[np.ndarray], inside: int, total: int, price: float) -> float:
    return float(stays[0].sum()) * float(stays[1].sum()) + price * (total - inside)


def _emptiest(counts: list[np.ndarray], stays: list[np.ndarray]) -> tuple[int, int]:
    """The row (0, index) or the column (1, index) of which the least share is filled."""
    shares = []
    for axis in (0, 1):
        others = max(1, int(stays[1 - axis].sum()))
        shares.append(np.where(stays[axis], counts[axis] / others, np.inf))
    axis = int(shares[1].min() < shares[0].min())
    return axis, int(shares[axis].argmin())


def _clipped(alive: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Split:
    """Core and what is outside; a core of no rows or no columns is none."""
    if not rows.size or not columns.size:
        rows, columns = np.zeros(0, np.int64), np.zeros(0, np.int64)
    rest = alive.copy()
    rest[np.ix_(rows, columns)] = False
    return Split(_unless_all(rows, len(alive)), _unless_all(columns, alive.shape[1]), rest)


def _unless_all(index: np.ndarray, count: int) -> np.ndarray | None:
    return None if index.size == count else index
