"""From units to groups: units that live on the same axes are interchangeable."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from niwaki.graph.balancing import Drawn
from niwaki.graph.couple import Coupling
from niwaki.graph.kinds import Hints, kind_of
from niwaki.graph.ledger import Ledger
from niwaki.units import Axis, Entries, Group, Member, Parts


def build_groups(ledger: Ledger, coupling: Coupling) -> tuple[tuple[Group, ...], tuple[np.ndarray, ...]]:
    """All groups of two or more units, in the order of their first axis, with the unit numbers of each."""
    axes = list(ledger.axes)
    owner = _owners(ledger, axes)
    classes = _classes(ledger, coupling, owner, len(axes))
    builder = _Builder(ledger, coupling, axes, owner, classes)
    order = np.argsort(classes, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(classes[order])) + 1) if order.size else []
    found = [builder.build(units) for units in members if units.size > 1]
    place = {axis: k for k, axis in enumerate(axes)}
    found.sort(key=lambda pair: (place[pair[0].members[0].axis], int(pair[1][0])))
    return _named([g for g, _ in found]), tuple(units for _, units in found)


def _owners(ledger: Ledger, axes: list[Axis]) -> np.ndarray:
    """The number of the axis that owns each atom; -1 for virtual atoms."""
    owner = np.full(ledger.size, -1)
    for k, axis in enumerate(axes):
        owner[ledger.axes[axis]] = k
    return owner


def _classes(ledger: Ledger, coupling: Coupling, owner: np.ndarray, count: int) -> np.ndarray:
    """A class number per unit: same counts on the same axes, or linked by a balance."""
    units = coupling.units
    real = np.flatnonzero(owner >= 0)
    by_axis = sparse.csr_matrix((np.ones(real.size, np.int64), (real, owner[real])), shape=(owner.size, count))
    weights = np.random.default_rng(0).integers(1, 2**62, size=count, dtype=np.int64)
    with np.errstate(over="ignore"):
        signature = (units.astype(np.int64) @ by_axis) @ weights
    place = _places(ledger, coupling)[coupling.unit_component]
    _, classes = np.unique(np.stack([signature, place]), axis=1, return_inverse=True)
    classes = classes.ravel()
    pairs = [(classes[d.units][:-1], classes[d.units][1:]) for d in coupling.balances]
    if not pairs:
        return classes
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    size = int(classes.max()) + 1
    links = sparse.coo_matrix((np.ones(left.size, bool), (left, right)), shape=(size, size))
    return connected_components(links, directed=False)[1][classes]


def _places(ledger: Ledger, coupling: Coupling) -> np.ndarray:
    """By component: which factor of a grid it is, counted from 1; 0 for none. Rows and columns overlap, so that they
    are not interchangeable even where there are as many of each."""
    place = np.zeros(int(coupling.component.max()) + 1, np.int64)
    for grid in reversed(ledger.grids):
        for k, factor in enumerate(grid.factors, start=1):
            place[coupling.component[factor]] = k
    return place


class _Builder:
    """Makes groups out of units that are interchangeable."""

    def __init__(
        self, ledger: Ledger, coupling: Coupling, axes: list[Axis], owner: np.ndarray, classes: np.ndarray
    ) -> None:
        self._ledger, self._coupling, self._axes, self._owner = ledger, coupling, axes, owner
        self._hints = Hints(ledger, coupling)
        self._balances: dict[int, list[Drawn]] = {}
        for drawn in coupling.balances:
            self._balances.setdefault(int(classes[drawn.units[0]]), []).append(drawn)
        self._classes = classes
        self._averaged = np.zeros(int(coupling.component.max(initial=-1)) + 1, bool)
        for statistic in ledger.statistics:
            self._averaged[coupling.component[statistic.ids]] = True

    def build(self, units: np.ndarray) -> tuple[Group, np.ndarray]:
        """The group of these units, numbered in the order of their positions on its first axis."""
        ledger, axes = self._ledger, self._axes
        rows, atoms = self._coupling.units[units].nonzero()
        owners = self._owner[atoms]
        present = sorted((int(k) for k in np.unique(owners) if k >= 0), key=lambda k: (_rank(ledger, axes[k]), k))
        order = _order(rows, atoms, owners == present[0], units.size)
        units = units[order]
        number = np.empty(units.size, np.int64)
        number[order] = np.arange(units.size)
        on = _by_value(owners)
        entries = {axes[k]: _entries(ledger, axes[k], number[rows[on[k]]], atoms[on[k]]) for k in present}
        makers = [axes[k] for k in present if _role(ledger, axes[k]) == "makes"]
        here = self._coupling.component[atoms]
        averages = bool(self._averaged[here].any())
        single = entries[axes[present[0]]].positions.size <= units.size
        group = Group(
            name=_module_of(axes[present[0]].name),
            kind=kind_of(
                ledger,
                makers,
                any(entries[axis].positions.size > units.size for axis in makers),
                self._hints.of(self._coupling.unit_component[units]),
            ),
            size=int(units.size),
            members=tuple(Member(axes[k].name, axes[k].dim, _role(ledger, axes[k])) for k in present),
            entries=entries,
            parts=self._parts(units),
            changes_statistics=averages,
            least=max(2 if averages and single else 1, self._least(here, units.size)),
            multiple=self._multiple(here, units.size),
        )
        return group, units

    def _parts(self, units: np.ndarray) -> tuple[Parts, ...]:
        """The balances of the units, by their numbers in the group."""
        order = np.argsort(units)
        found = []
        for drawn in self._balances.get(int(self._classes[units[0]]), ()):
            inside = order[np.searchsorted(units[order], drawn.units)]
            of, weight = np.full(units.size, -1), np.zeros(units.size, np.int64)
            of[inside], weight[inside] = drawn.of, drawn.weight
            found.append(Parts(of, weight))
        return tuple(found)

    def _least(self, here: np.ndarray, size: int) -> int:
        """How many units must stay: as many as some operation picks. (Of single positions two under an average: of one
        value it is no average, and its spread is undefined.)"""
        wanted = [1]
        for ids, count in self._ledger.least:
            positions = int(np.isin(self._coupling.component[ids], here).sum())
            if positions:
                wanted.append(math.ceil(count / max(1, positions // size)))
        return min(max(wanted), size)

    def _multiple(self, here: np.ndarray, size: int) -> int:
        """Of what number of units a multiple must stay, so that every length stays one that its kernel takes."""
        found = 1
        for ids, count in self._ledger.multiples:
            inside = int(np.isin(self._coupling.component[ids], here).sum())
            if inside:
                each = max(1, inside // size)
                found = math.lcm(found, count // math.gcd(count, each))
        return found if size % found == 0 else 1


def _order(rows: np.ndarray, atoms: np.ndarray, on_first: np.ndarray, count: int) -> np.ndarray:
    """Units by their smallest position on the group's first axis (units that are not on it come last)."""
    smallest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(smallest, rows[on_first], atoms[on_first])
    return np.argsort(smallest, kind="stable")


def _by_value(values: np.ndarray) -> dict[int, np.ndarray]:
    """Where each value stands, ascending."""
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _entries(ledger: Ledger, axis: Axis, units: np.ndarray, atoms: np.ndarray) -> Entries:
    positions = atoms - ledger.axes[axis][0]
    order = np.lexsort((units, positions))
    return Entries(units[order], positions[order])


def _role(ledger: Ledger, axis: Axis):  # type: ignore[no-untyped-def]
    roles = ledger.roles.get(axis, set())
    return "makes" if "makes" in roles else "takes" if "takes" in roles else "follows"


def _rank(ledger: Ledger, axis: Axis) -> int:
    return ("makes", "takes", "follows").index(_role(ledger, axis))


def _module_of(name: str) -> str:
    """``layer1.0.conv1`` for ``layer1.0.conv1.weight``; a bare parameter keeps its name."""
    name = name.replace(".parametrizations", "")
    stem, _, leaf = name.rpartition(".")
    if re.fullmatch(r"original\d?", leaf) and stem.endswith(".weight"):
        stem, leaf = stem.removesuffix(".weight"), "weight"
    return stem if stem and re.fullmatch(r"(in_proj_|q_proj_)?(weight|bias)(_ih|_hh|_orig|_v|_g|_l0)*", leaf) else name


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """Groups with unique names: a second group on the same first axis gets its kind and a number."""
    from dataclasses import replace

    return tuple(replace(g, name=name) for g, name in zip(groups, _unique(groups), strict=True))


def _unique(groups: list[Group]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for group in groups:
        seen[group.name] += 1
        yield group.name if seen[group.name] == 1 else f"{group.name}#{seen[group.name]}"
