"""Balances over units: which part each unit draws from, and which units no choice could keep in balance.

A balance touches few of all units, so that everything here works on those alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from niwaki.graph.labels import Reason
from niwaki.graph.ledger import Balance


class Drawn(NamedTuple):
    """Unit numbers (ascending), the part that each draws from, and how many positions it takes there."""

    units: np.ndarray
    of: np.ndarray
    weight: np.ndarray


def balanced(
    balances: Sequence[Balance], units: sparse.csr_matrix
) -> tuple[np.ndarray, tuple[Drawn, ...], dict[int, Reason]]:
    """Bool per unit: can it stay in balance? With the balances of those that can, by their new numbers, and for the
    others the reason."""
    columns = units.tocsc()
    alive = np.ones(units.shape[0], bool)
    reasons: dict[int, Reason] = {}
    while True:
        found: list[Drawn] = []
        bad: list[np.ndarray] = []
        for balance in balances:
            drawn, wrong = _draw(balance, columns, alive)
            if drawn.units.size:
                found.append(drawn)
            if wrong.size:
                bad.append(wrong)
                reason = Reason(
                    "parts of an axis must keep equally many positions and no choice here can", balance.site
                )
                reasons.update((int(u), reason) for u in wrong)
        if not bad:
            number = np.cumsum(alive) - 1
            return alive, tuple(Drawn(number[d.units], d.of, d.weight) for d in _merged(found)), reasons
        alive[np.concatenate(bad)] = False


def _draw(balance: Balance, columns: sparse.csc_matrix, alive: np.ndarray) -> tuple[Drawn, np.ndarray]:
    """The units that draw from one part each, and the units that break the balance."""
    touched, counts, sizes = _counts(balance, columns, alive)
    if not touched.size:
        return Drawn(touched, touched, touched), touched
    whole = (counts == sizes).any(axis=1) if balance.droppable else np.zeros(touched.size, bool)
    uneven = (counts.min(axis=1) != counts.max(axis=1)) & ~whole
    single = uneven & ((counts > 0).sum(axis=1) == 1)
    part, weight = counts.argmax(axis=1), counts.max(axis=1)
    wrong = uneven & ~single
    if single.any():
        usual = np.array([_most_common(weight[single & (part == k)]) for k in range(sizes.size)])
        wrong |= single & (weight != usual[part])
        served = np.bincount(part[single & ~wrong], minlength=sizes.size) > 0
        if not served.all():
            wrong |= single
    good = single & ~wrong
    return Drawn(touched[good], part[good], weight[good]), touched[wrong]


def _counts(
    balance: Balance, columns: sparse.csc_matrix, alive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The units touched, how many positions each has on each part, and the sizes of the parts. Parts on which all units
    have the same (the queries and the keys of a head) are one."""
    atoms = np.concatenate(balance.parts)
    part = np.repeat(np.arange(len(balance.parts)), [len(p) for p in balance.parts])
    starts, ends = columns.indptr[atoms], columns.indptr[atoms + 1]
    lengths = ends - starts
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = columns.indices[np.repeat(starts, lengths) + offsets]
    parts = np.repeat(part, lengths)
    keep = alive[rows]
    touched, row = _numbers_of(rows[keep], alive.size)
    counts = np.zeros((touched.size, len(balance.parts)), np.int64)
    np.add.at(counts, (row, parts[keep]), 1)
    # Equal columns have equal sums under random weights.
    weights = np.random.default_rng(0).integers(1, 2**40, size=touched.size)
    first = np.sort(np.unique(weights @ counts, return_index=True)[1])
    return touched, counts[:, first], np.array([len(balance.parts[k]) for k in first])


def _numbers_of(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values below ``size``, ascending, and the place of each value among them."""
    if values.size < size // 64:
        found, place = np.unique(values, return_inverse=True)
        return found, place.ravel()
    flags = np.zeros(size, bool)
    flags[values] = True
    found = np.flatnonzero(flags)
    place = np.empty(size, np.int64)
    place[found] = np.arange(found.size)
    return found, place[values]


def _most_common(values: np.ndarray) -> int:
    return int(np.bincount(values).argmax()) if values.size else 0


Side = dict[bytes, tuple[np.ndarray, int]]
"""The parts of a balance, by their units: those units, and how many positions each of them takes."""


def _merged(found: Sequence[Drawn]) -> list[Drawn]:
    """The same balance seen twice is one, and balances that share a part are one over all of their parts."""
    sides: list[Side] = []
    holder: dict[bytes, int] = {}
    for drawn in found:
        mine: Side = {}
        for k in range(int(drawn.of.max()) + 1):
            here = drawn.units[drawn.of == k]
            mine[here.tobytes()] = (here, int(drawn.weight[drawn.of == k][0]))
        for place in sorted({holder[name] for name in mine if name in holder}):
            joined = _joined(sides[place], mine)
            if joined is not None:
                mine, sides[place] = joined, {}
        holder.update(dict.fromkeys(mine, len(sides)))
        sides.append(mine)
    return [_numbered(list(side.values())) for side in sides if side]


def _joined(one: Side, other: Side) -> Side | None:
    """Two balances as one, if their parts are the same, or apart, or parts of one another. In the weights, one position
    of a unit may count as several."""
    common = [name for name in one if name in other]
    if not common:
        return None
    left, right = one[common[0]][1], other[common[0]][1]
    whole = math.lcm(left, right)
    ours = {name: (units, weight * whole // left) for name, (units, weight) in one.items()}
    theirs = {name: (units, weight * whole // right) for name, (units, weight) in other.items()}
    if any(ours[name][1] != theirs[name][1] for name in common):
        return None
    joined = ours | theirs
    if _overlap(joined):
        joined = _finest(joined)
        if _overlap(joined):
            return None
    common_factor = math.gcd(*(weight for _, weight in joined.values()))
    return {name: (units, weight // common_factor) for name, (units, weight) in joined.items()}


def _overlap(side: Side) -> bool:
    everything = np.concatenate([units for units, _ in side.values()])
    return bool(np.bincount(everything - everything.min()).max() > 1)


def _finest(side: Side) -> Side:
    """Without the parts that are made of other parts: those keep the balance for them."""
    names = sorted(side, key=lambda name: side[name][0].size)
    everything = np.unique(np.concatenate([units for units, _ in side.values()]))
    holder = np.full(everything.size, -1)
    finest: Side = {}
    for number, name in enumerate(names):
        here = np.searchsorted(everything, side[name][0])
        inside = np.unique(holder[here])
        if inside[0] >= 0 and sum(side[names[k]][0].size for k in inside.tolist()) == here.size:
            continue
        holder[here] = number
        finest[name] = side[name]
    return finest


def _numbered(parts: list[tuple[np.ndarray, int]]) -> Drawn:
    units = np.concatenate([here for here, _ in parts])
    sizes = [here.size for here, _ in parts]
    of, weight = np.repeat(np.arange(len(parts)), sizes), np.repeat([w for _, w in parts], sizes)
    order = np.argsort(units, kind="stable")
    return Drawn(units[order], of[order], weight[order])


__all__ = ["Drawn", "balanced"]
