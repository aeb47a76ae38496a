"""From relations to units: which atoms go together, which cover which, and which may not go at all.

All of it is connected components and sparse products over integer arrays; no loop runs over single indices.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from niwaki.graph.labels import Reason
from niwaki.graph.ledger import Balance, Grid, Ledger, Number
from niwaki.units import Axis, Parts


@dataclass(frozen=True, eq=False)
class Coupling:
    """The solved relations.

    ``component``: component number per atom. ``units``: bool CSR matrix, a row per unit, a column per atom, true
    where the atom goes with the unit. ``reasons``: for each component that may not go, why. ``balances``: for each
    balance under which units are not equal by themselves, the part of each unit (-1: none) and how many positions it
    takes from that part. ``loose``: units of a loose grid, which merge with their cover once they are the last of
    their row. ``rows``: for the inner factor of each loose grid (its bytes), the rows of the grid.
    """

    component: np.ndarray
    units: sparse.csr_matrix
    unit_component: np.ndarray
    reasons: dict[int, Reason]
    balances: tuple[Parts, ...]
    loose: np.ndarray
    rows: Mapping[bytes, np.ndarray]

    def length(self, ids: np.ndarray, kept: np.ndarray) -> int:
        """How many positions an extent has when ``kept`` (bool per atom) says which atoms stay."""
        rows = self.rows.get(self.component[ids].tobytes())
        return int(kept[ids].sum() if rows is None else kept[rows].sum(axis=1).max())


def couple(ledger: Ledger, numbers: Sequence[Number] = (), *, guess: bool = True) -> Coupling:
    """Solve the relations of a trace. The extents that one of the ``numbers`` stands for keep equal lengths. ``guess``:
    slices that look like one of equal parts are taken to be that."""
    if not guess:
        ledger = copy.copy(ledger)
        ledger.balances = [b for b in ledger.balances if not b.guessed]
    component = _components(ledger)
    component, loose = _loosen(ledger, component)
    count = int(component.max()) + 1 if component.size else 0
    covers, derived = _covers(ledger.grids, loose, component, count)
    reach = _closure(covers)
    reasons = _blocked(ledger, component)
    reasons |= _conflicts(ledger.grids, loose, component, reasons)
    real = np.zeros(ledger.size, bool)
    for ids in ledger.axes.values():
        real[ids] = True
    members = _membership(component, count)
    live = np.asarray((reach @ members)[:, real].sum(axis=1)).ravel() > 0
    stuck = _reaches(reach, reasons)
    candidates = np.flatnonzero(live & ~derived & ~stuck)
    units = (reach[candidates] @ members).astype(bool).tocsr()
    full = fills_an_axis(units, ledger.axes)
    reasons.update((int(c), Reason("it is all there is of an axis")) for c in candidates[full])
    candidates, units = candidates[~full], units[~full]
    rows = {component[g.factors[-1]].tobytes(): g.parent for g in loose}
    balances = [*ledger.balances, *_loose_balances(loose), *_number_balances(numbers, rows, component)]
    candidates, units, parts, more = _balanced(balances, candidates, units)
    in_loose = np.concatenate([np.empty(0, int), *(component[g.parent.ravel()] for g in loose)]).astype(int)
    return Coupling(component, units, candidates, reasons | more, parts, np.isin(candidates, in_loose), rows)


def fills_an_axis(units: sparse.csr_matrix, axes: Mapping[Axis, np.ndarray]) -> np.ndarray:
    """Units that hold all atoms of some axis."""
    runs = list(axes.values())
    atoms, column = np.concatenate(runs), np.repeat(np.arange(len(runs)), [r.size for r in runs])
    shape = (units.shape[1], len(runs))
    by_axis = sparse.csr_matrix((np.ones(atoms.size, np.int32), (atoms, column)), shape=shape)
    counts = (units.astype(np.int32) @ by_axis).tocoo()
    sizes = np.array([r.size for r in runs])
    fills = np.zeros(units.shape[0], bool)
    fills[counts.row[counts.data == sizes[counts.col]]] = True
    return fills


def _components(ledger: Ledger) -> np.ndarray:
    """Connected components of the ties, with grids congruent: equal parents have equal factors and the reverse."""
    extra: list[tuple[np.ndarray, np.ndarray]] = []
    while True:
        component = _connect(ledger.size, [*((t.left, t.right) for t in ledger.ties), *extra])
        found = _congruences(ledger.grids, component)
        if not found:
            return component
        extra.extend(found)


def _connect(size: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    pairs = list(pairs)
    left = np.concatenate([a.ravel() for a, _ in pairs]) if pairs else np.empty(0, int)
    right = np.concatenate([b.ravel() for _, b in pairs]) if pairs else np.empty(0, int)
    edges = sparse.coo_matrix((np.ones(left.size, bool), (left, right)), shape=(size, size))
    return connected_components(edges, directed=False)[1]


def _congruences(grids: list[Grid], component: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of arrays that must be tied because the grids they belong to have become the same."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    by_parent: dict[tuple[object, ...], Grid] = {}
    by_factors: dict[tuple[object, ...], tuple[Grid, list[int]]] = {}
    for grid in grids:
        twin = by_parent.setdefault((component[grid.parent].tobytes(), grid.parent.shape), grid)
        for mine, theirs in zip(grid.factors, twin.factors, strict=True):
            if not np.array_equal(component[mine], component[theirs]):
                found.append((mine, theirs))
        names = [component[f].tobytes() for f in grid.factors]
        order = sorted(range(len(names)), key=names.__getitem__)
        first, other = by_factors.setdefault(tuple(names[k] for k in order), (grid, order))
        a, b = grid.parent.transpose(order), first.parent.transpose(other)
        if a.shape == b.shape and not np.array_equal(component[a], component[b]):
            found.append((a, b))
    return found


def _loosen(ledger: Ledger, component: np.ndarray) -> tuple[np.ndarray, list[Grid]]:
    """Grids whose inner factor nobody else refers to: rows then need equally many columns, not the same ones.

    Returns the components with the parallel grids' parents tied, and the grids that are loose.
    """
    used = _uses(ledger, component)
    by_inner: dict[bytes, list[Grid]] = defaultdict(list)
    for grid in ledger.grids:
        by_inner[component[grid.factors[-1]].tobytes()].append(grid)
    loose: list[Grid] = []
    ties: list[tuple[np.ndarray, np.ndarray]] = []
    for family in by_inner.values():
        inner = component[family[0].factors[-1]]
        outer = {component[g.factors[0]].tobytes() for g in family}
        alone = len(outer) == 1 and all(len(g.factors) == 2 for g in family)
        if not alone or used[inner].any() or _occurs_elsewhere(ledger.grids, family, inner, component):
            continue
        if not _always_beside(ledger, family, inner, component):
            continue
        loose.extend(family)
        ties.extend((g.parent, family[0].parent) for g in family[1:])
        ties.extend(_whole_rows(family[0], component))
    if ties:
        pairs = [*((t.left, t.right) for t in ledger.ties), *_settled(component, ledger.size), *ties]
        component = _connect(ledger.size, pairs)
    return component, loose


def _always_beside(ledger: Ledger, family: list[Grid], inner: np.ndarray, component: np.ndarray) -> bool:
    """Wherever the inner positions are a dimension of a tensor, is the outer factor (or a grid over it) one too?"""
    outer = component[family[0].factors[0]].tobytes()
    over = {
        component[g.parent.ravel()].tobytes()
        for g in ledger.grids
        if any(component[f].tobytes() == outer for f in g.factors) and not any(g is x for x in family)
    }
    for ids, others in ledger.contexts.values():
        if np.isin(component[ids], inner).any():
            names = {component[other].tobytes() for other in others}
            if outer not in names and not names & over:
                return False
    return True


def _whole_rows(grid: Grid, component: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """A row whose columns all go together goes with the factor that covers it."""
    found = component[grid.parent]
    whole = (found == found[:, :1]).all(axis=1)
    return [(grid.factors[0][whole], grid.parent[whole, 0])]


def _settled(component: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ties that reproduce the components found so far."""
    first = np.full(int(component.max()) + 1, -1)
    first[component[::-1]] = np.arange(size)[::-1]
    return [(np.arange(size), first[component])]


def _uses(ledger: Ledger, component: np.ndarray) -> np.ndarray:
    """Components that anything but a grid's factor list refers to: a tensor axis, a block, a norm, a parent…"""
    used = np.zeros(int(component.max()) + 1 if component.size else 0, bool)
    arrays = [
        *ledger.axes.values(),
        *(b.ids for b in ledger.blocks),
        *(g.parent.ravel() for g in ledger.grids),
        *(p for b in ledger.balances for p in b.parts),
        *(s.ids for s in ledger.statistics),
        *ledger.rigid,
    ]
    for ids in arrays:
        used[component[ids]] = True
    return used


def _occurs_elsewhere(grids: list[Grid], family: list[Grid], inner: np.ndarray, component: np.ndarray) -> bool:
    """Do the inner components occur as a factor of another grid, or as an outer factor of their own?"""
    others = [f for g in grids for k, f in enumerate(g.factors) if not (any(g is x for x in family) and k == 1)]
    return any(np.isin(component[f], inner).any() for f in others)


def _covers(
    grids: list[Grid], loose: list[Grid], component: np.ndarray, count: int
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Which component covers which (a factor covers its slice), and which go only with their cover."""
    rows, columns = [], []
    derived = np.zeros(count, bool)
    for grid in grids:
        is_loose = any(grid is g for g in loose)
        for k, factor in enumerate(grid.factors[:1] if is_loose else grid.factors):
            shape = [-1 if d == k else 1 for d in range(grid.parent.ndim)]
            rows.append(np.broadcast_to(component[factor].reshape(shape), grid.parent.shape).ravel())
            columns.append(component[grid.parent].ravel())
        if not is_loose:
            derived[component[grid.parent]] = True
    if not rows:
        rows = columns = [np.empty(0, int)]
    i, j = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(i.size, bool), (i, j)), shape=(count, count)), derived


def _closure(covers: sparse.csr_matrix) -> sparse.csr_matrix:
    """Reachability of the cover relation, itself included (covers nest only a few deep)."""
    reach = (sparse.identity(covers.shape[0], dtype=bool, format="csr") + covers).astype(bool)
    while True:
        further = (reach @ reach).astype(bool)
        if further.nnz == reach.nnz:
            return reach
        reach = further


def _membership(component: np.ndarray, count: int) -> sparse.csr_matrix:
    """Bool matrix: component × atom."""
    atoms = np.arange(component.size)
    return sparse.csr_matrix((np.ones(component.size, np.int32), (component, atoms)), shape=(count, component.size))


def _blocked(ledger: Ledger, component: np.ndarray) -> dict[int, Reason]:
    """The first reason for each component that holds a blocked atom."""
    reasons: dict[int, Reason] = {}
    for block in ledger.blocks:
        for c in np.unique(component[block.ids]).tolist():
            reasons.setdefault(c, block.reason)
    return reasons


def _conflicts(
    grids: list[Grid], loose: list[Grid], component: np.ndarray, known: dict[int, Reason]
) -> dict[int, Reason]:
    """Axes that are read as grids of different shapes: a cut that fits one need not fit the other."""
    readings: dict[int, set[bytes]] = defaultdict(set)
    strict = [g for g in grids if not any(g is x for x in loose)]
    for grid in strict:
        name = b"|".join(component[f].tobytes() for f in sorted(grid.factors, key=lambda f: component[f].tobytes()))
        for c in np.unique(component[grid.parent]).tolist():
            readings[c].add(name)
    twice = {c for c, names in readings.items() if len(names) > 1}
    found: dict[int, Reason] = {}
    for grid in strict:
        if twice & set(np.unique(component[grid.parent]).tolist()):
            reason = Reason("an axis that is read as grids of different shapes", grid.site)
            for factor in grid.factors:
                found.update((c, reason) for c in component[factor].tolist() if c not in known)
    return found


def _reaches(reach: sparse.csr_matrix, reasons: dict[int, Reason]) -> np.ndarray:
    """Components that are blocked or cover a blocked one."""
    flags = np.zeros(reach.shape[0], np.int32)
    flags[list(reasons)] = 1
    return np.asarray(reach @ flags).ravel() > 0


def _loose_balances(loose: list[Grid]) -> list[Balance]:
    return [Balance(tuple(g.parent), g.site, droppable=True) for g in loose]


def _number_balances(
    numbers: Sequence[Number], rows: Mapping[bytes, np.ndarray], component: np.ndarray
) -> list[Balance]:
    """What one number stands for stays equally long everywhere; of a loose grid, every row counts."""
    found = []
    for number in numbers:
        distinct = {component[ids].tobytes(): ids for ids in number.extents}
        parts = [row for name, ids in distinct.items() for row in rows.get(name, [ids])]
        if len(parts) > 1:
            found.append(Balance(tuple(parts), number.site, droppable=True))
    return found


def _balanced(
    balances: list[Balance], candidates: np.ndarray, units: sparse.csr_matrix
) -> tuple[np.ndarray, sparse.csr_matrix, tuple[Parts, ...], dict[int, Reason]]:
    """Units under each balance: their part numbers; units that no choice could balance are blocked."""
    reasons: dict[int, Reason] = {}
    while True:
        found: list[Parts] = []
        bad = np.zeros(candidates.size, bool)
        for balance in balances:
            parts, wrong = _parts(balance, units)
            bad |= wrong
            if (parts.of >= 0).any():
                found.append(parts)
            reason = Reason("parts of an axis must keep equally many positions and no choice here can", balance.site)
            reasons.update((int(c), reason) for c in candidates[wrong])
        if not bad.any():
            return candidates, units, merged(found), reasons
        candidates, units = candidates[~bad], units[~bad]


def _parts(balance: Balance, units: sparse.csr_matrix) -> tuple[Parts, np.ndarray]:
    """The part that each unit draws from (-1: from none, or from all alike) with its weight there, and the units that
    break the balance."""
    counts, sizes = _counts(balance, units)
    touched = counts.max(axis=1, initial=0) > 0
    whole = (counts == sizes).any(axis=1) if balance.droppable else np.zeros(len(counts), bool)
    uneven = touched & (counts.min(axis=1) != counts.max(axis=1)) & ~whole
    single = uneven & ((counts > 0).sum(axis=1) == 1)
    part = np.where(single, counts.argmax(axis=1), -1)
    weight = np.where(single, counts.max(axis=1), 0)
    wrong = uneven & ~single
    if single.any():
        usual = np.array([_most_common(weight[part == k]) for k in range(counts.shape[1])])
        wrong |= single & (weight != usual[part])
        served = np.bincount(part[single & ~wrong], minlength=counts.shape[1]) > 0
        if not served.all():
            wrong |= single
    part[wrong] = -1
    weight[wrong] = 0
    return Parts(part, weight), wrong


def _counts(balance: Balance, units: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """How many positions each unit has on each part, and the sizes of the parts. Parts on which all units have the
    same (the queries and the keys of a head) are one."""
    counts = np.stack([np.asarray(units[:, p].sum(axis=1)).ravel() for p in balance.parts], axis=1)
    first = sorted({column.tobytes(): k for k, column in reversed(list(enumerate(counts.T.copy())))}.values())
    return counts[:, first], np.array([len(balance.parts[k]) for k in first])


def _most_common(values: np.ndarray) -> int:
    return int(np.bincount(values).argmax()) if values.size else 0


def merged(found: list[Parts]) -> tuple[Parts, ...]:
    """The same balance seen twice is one, and balances that share a part are one over all of their parts."""
    sides: list[dict[bytes, tuple[np.ndarray, np.ndarray]]] = []
    for parts in found:
        mine = {(parts.of == k).tobytes(): (parts.of == k, parts.weight) for k in range(int(parts.of.max()) + 1)}
        for other in [side for side in sides if side.keys() & mine.keys()]:
            sides.remove(other)
            mine = {**other, **mine}
        sides.append(mine)
    return tuple(_numbered(list(side.values())) for side in sides)


def _numbered(parts: list[tuple[np.ndarray, np.ndarray]]) -> Parts:
    of, weight = np.full(parts[0][0].size, -1), np.zeros(parts[0][0].size, int)
    for k, (here, weights) in enumerate(parts):
        of[here], weight[here] = k, weights[here]
    return Parts(of, weight)
