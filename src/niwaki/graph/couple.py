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

from niwaki.graph.balancing import Drawn, balanced
from niwaki.graph.labels import Reason, distinct
from niwaki.graph.ledger import Balance, Grid, Ledger, Made, Number
from niwaki.units import Axis


@dataclass(frozen=True, eq=False)
class Coupling:
    """The solved relations.

    ``component``: component number per atom. ``units``: bool CSR matrix, a row per unit, a column per atom, true
    where the atom goes with the unit. ``reasons``: for each component that may not go, why. ``balances``: for each
    balance under which units are not equal by themselves, the part of each unit (-1: none) and how many positions it
    takes from that part. ``loose``: units of a loose grid, which merge with their cover once they are the last of
    their row. ``rows``: for the inner factor of each loose grid (its bytes), the rows of the grid;
    ``inside_loose``: bool per component, is it in one of those factors.
    """

    component: np.ndarray
    units: sparse.csr_matrix
    unit_component: np.ndarray
    reasons: dict[int, Reason]
    balances: tuple[Drawn, ...]
    loose: np.ndarray
    rows: Mapping[bytes, np.ndarray]
    inside_loose: np.ndarray

    def length(self, ids: np.ndarray, kept: np.ndarray) -> int:
        """How many positions an extent has when ``kept`` (bool per atom) says which atoms stay."""
        rows = self.rows.get(self.component[ids].tobytes())
        return int(kept[ids].sum() if rows is None else kept[rows].sum(axis=1).max())


def couple(ledger: Ledger, numbers: Sequence[Number] = (), *, guess: bool = True) -> Coupling:
    """Solve the relations of a trace. The extents that one of the ``numbers`` stands for keep equal lengths. ``guess``:
    slices that look like one of equal parts are taken to be that."""
    return bind(related(ledger, guess=guess), numbers)


@dataclass(frozen=True, eq=False)
class Related:
    """What the operations alone say, before balances: components, the units that they leave, and the balances."""

    component: np.ndarray
    units: sparse.csr_matrix
    candidates: np.ndarray
    reasons: Mapping[int, Reason]
    balances: tuple[Balance, ...]
    loose: tuple[Grid, ...]
    made: tuple[Made, ...]


def related(ledger: Ledger, *, guess: bool = True) -> Related:
    """Solve ties, grids and blocks."""
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
    live = reach.astype(np.int64) @ (members @ real.astype(np.int64)) > 0
    stuck = _reaches(reach, reasons)
    candidates = np.flatnonzero(live & ~derived & ~stuck)
    units = (reach[candidates] @ members).astype(bool).tocsr()
    full = fills_an_axis(units, ledger.axes)
    reasons.update((int(c), Reason("it is all there is of an axis")) for c in candidates[full])
    balances = (*ledger.balances, *_loose_balances(loose))
    return Related(component, units[~full], candidates[~full], reasons, balances, tuple(loose), tuple(ledger.made))


def bind(found: Related, numbers: Sequence[Number] = ()) -> Coupling:
    """Add the numbers of modules to what the operations say, and see which units can be kept in balance."""
    component = found.component
    rows = {component[g.factors[-1]].tobytes(): g.parent for g in found.loose}
    alike = _alike((*numbers, *found.made), rows, component)
    alive, parts, more = balanced((*found.balances, *alike), found.units)
    reasons = {**found.reasons, **{int(found.candidates[u]): reason for u, reason in more.items()}}
    inside, parents = np.zeros(int(component.max(initial=-1)) + 1, bool), np.zeros(component.size, bool)
    for grid in found.loose:
        inside[component[grid.factors[-1]]] = True
        parents[component[grid.parent.ravel()]] = True
    candidates = found.candidates[alive]
    return Coupling(component, found.units[alive], candidates, reasons, parts, parents[candidates], rows, inside)


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
    component = _connect(ledger.size, ((t.left, t.right) for t in ledger.ties))
    while found := _congruences(ledger.grids, component):
        component = _joined(component, found)
    return component


def _joined(component: np.ndarray, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The components when these pairs of atoms are tied too. Only components are looked at, which are far fewer."""
    count = int(component.max(initial=-1)) + 1
    return _connect(count, ((component[a], component[b]) for a, b in pairs))[component]


def _connect(size: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The number of every node's component, in the order of their first nodes."""
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
    beside = _Beside(ledger, component)
    by_inner: dict[bytes, list[Grid]] = defaultdict(list)
    factors = np.zeros(used.size, np.int64)  # in how many factors of grids each component is
    for grid in ledger.grids:
        by_inner[component[grid.factors[-1]].tobytes()].append(grid)
        for factor in grid.factors:
            here = component[factor]
            factors[here if distinct(here) else np.unique(here)] += 1
    loose: list[Grid] = []
    ties: list[tuple[np.ndarray, np.ndarray]] = []
    for family in by_inner.values():
        inner = component[family[0].factors[-1]]
        outer = {component[g.factors[0]].tobytes() for g in family}
        alone = len(outer) == 1 and all(len(g.factors) == 2 for g in family)
        if not alone or used[inner].any() or (factors[inner] > len(family)).any():
            continue
        if not beside.always(family[0], inner):
            continue
        loose.extend(family)
        ties.extend((g.parent, family[0].parent) for g in family[1:])
        ties.extend(_whole_rows(family[0], component))
    return (_joined(component, ties) if ties else component), loose


class _Beside:
    """Which dimensions stood beside the inner positions of grids, by component."""

    def __init__(self, ledger: Ledger, component: np.ndarray) -> None:
        self._component = component
        self._contexts: dict[int, list[frozenset[bytes]]] = defaultdict(list)
        for ids, others in ledger.contexts.values():
            self._contexts[int(component[ids[0]])].append(frozenset(component[o].tobytes() for o in others))
        self._over: dict[bytes, list[tuple[Grid, bytes]]] = defaultdict(list)
        for grid in ledger.grids:
            name = component[grid.parent.ravel()].tobytes()
            for factor in grid.factors:
                self._over[component[factor].tobytes()].append((grid, name))

    def always(self, grid: Grid, inner: np.ndarray) -> bool:
        """Wherever the inner positions are a dimension of a tensor, is the outer factor (or a grid over it) one too?"""
        outer = self._component[grid.factors[0]].tobytes()
        mine = inner.tobytes()
        names = {outer}
        for other, name in self._over[outer]:
            if all(self._component[f].tobytes() != mine for f in other.factors):
                names.add(name)
        return all(names & context for c in np.unique(inner).tolist() for context in self._contexts.get(c, ()))


def _whole_rows(grid: Grid, component: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """A row whose columns all go together goes with the factor that covers it."""
    found = component[grid.parent]
    whole = (found == found[:, :1]).all(axis=1)
    return [(grid.factors[0][whole], grid.parent[whole, 0])]


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


def _covers(
    grids: list[Grid], loose: list[Grid], component: np.ndarray, count: int
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Which component covers which (a factor covers its slice), and which go only with their cover."""
    rows, columns = [], []
    derived = np.zeros(count, bool)
    among_loose = {id(g) for g in loose}
    for grid in grids:
        is_loose = id(grid) in among_loose
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
    among_loose = {id(g) for g in loose}
    strict = [g for g in grids if id(g) not in among_loose]
    names: dict[bytes, int] = {}
    reading, twice = np.full(int(component.max(initial=-1)) + 1, -1), np.zeros(int(component.max(initial=-1)) + 1, bool)
    for grid in strict:
        name = b"|".join(sorted(component[f].tobytes() for f in grid.factors))
        number = names.setdefault(name, len(names))
        here = component[grid.parent.ravel()]
        twice[here[(reading[here] >= 0) & (reading[here] != number)]] = True
        reading[here] = number
    found: dict[int, Reason] = {}
    for grid in strict:
        if twice[component[grid.parent.ravel()]].any():
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


def _alike(lengths: Iterable[Number | Made], rows: Mapping[bytes, np.ndarray], component: np.ndarray) -> list[Balance]:
    """What one number stands for, or met one made dimension, stays equally long; of a loose grid, every row counts."""
    found = []
    for each in lengths:
        distinct = {component[ids].tobytes(): ids for ids in each.extents}
        parts = [row for name, ids in distinct.items() for row in rows.get(name, [ids])]
        if len(parts) > 1:
            found.append(Balance(tuple(parts), each.site, droppable=True))
    return found
