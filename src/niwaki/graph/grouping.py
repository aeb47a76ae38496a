"""From units to groups: units that live on the same axes are interchangeable."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from niwaki.graph.couple import Coupling
from niwaki.graph.ledger import Ledger
from niwaki.units import Axis, Entries, Group, Member


def build_groups(ledger: Ledger, coupling: Coupling) -> tuple[tuple[Group, ...], tuple[np.ndarray, ...]]:
    """All groups of two or more units, in the order of their first axis, with the unit numbers of each."""
    axes = list(ledger.axes)
    owner = _owners(ledger, axes)
    classes = _classes(ledger, coupling, owner, len(axes))
    hints = _hints(ledger, coupling)
    found = [_build(ledger, coupling, axes, owner, hints, np.flatnonzero(classes == c)) for c in np.unique(classes)]
    found = [(g, units) for g, units in found if len(g) > 1]
    found.sort(key=lambda pair: (axes.index(pair[0].members[0].axis), int(pair[1][0])))
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
    pairs = [(classes[p.of >= 0][:-1], classes[p.of >= 0][1:]) for p in coupling.balances]
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


def _build(
    ledger: Ledger,
    coupling: Coupling,
    axes: list[Axis],
    owner: np.ndarray,
    hints: Mapping[int, set[str]],
    units: np.ndarray,
) -> tuple[Group, np.ndarray]:
    """The group of these units, numbered in the order of their positions on its first axis."""
    rows, atoms = coupling.units[units].nonzero()
    owners = owner[atoms]
    present = sorted({int(k) for k in owners if k >= 0}, key=lambda k: (_rank(ledger, axes[k]), k))
    first = axes[present[0]]
    order = _order(rows, atoms, owners == axes.index(first), units.size)
    units = units[order]
    number = np.empty(units.size, np.int64)
    number[order] = np.arange(units.size)
    entries = {axes[k]: _entries(ledger, axes[k], number[rows[owners == k]], atoms[owners == k]) for k in present}
    members = tuple(Member(axes[k].name, axes[k].dim, _role(ledger, axes[k])) for k in present)
    parts = tuple(p.among(units) for p in coupling.balances if (p.of[units] >= 0).any())
    averaged = np.concatenate([s.ids for s in ledger.statistics]) if ledger.statistics else np.empty(0, int)
    words = set().union(*(hints.get(int(c), set()) for c in coupling.unit_component[units]))
    averages = bool(np.isin(coupling.component[atoms], coupling.component[averaged]).any())
    group = Group(
        name=_module_of(first.name),
        kind=_kind(ledger, members, entries, units.size, words),
        size=int(units.size),
        members=members,
        entries=entries,
        parts=parts,
        changes_statistics=averages,
        multiple=_multiple(ledger, coupling, atoms, units.size),
        least=_least(ledger, coupling, atoms, units.size, averages),
    )
    return group, units


def _least(ledger: Ledger, coupling: Coupling, atoms: np.ndarray, size: int, averages: bool) -> int:
    """How many units must stay: of single positions two under an average (of one value it is no average, and its
    spread is undefined), and as many as some operation picks."""
    here = coupling.component[atoms]
    wanted = [1]
    for ids, count in (*ledger.least, *((s.ids, 2) for s in ledger.statistics if averages)):
        positions = int(np.isin(coupling.component[ids], here).sum())
        if positions:
            wanted.append(math.ceil(count / max(1, positions // size)))
    return min(max(wanted), size)


def _multiple(ledger: Ledger, coupling: Coupling, atoms: np.ndarray, size: int) -> int:
    """Of what number of units a multiple must stay, so that every length stays a multiple of what its kernel takes."""
    here, found = coupling.component[atoms], 1
    for ids, count in ledger.multiples:
        inside = int(np.isin(coupling.component[ids], here).sum())
        if inside:
            each = max(1, inside // size)
            found = math.lcm(found, count // math.gcd(count, each))
    return found if size % found == 0 else 1


def _order(rows: np.ndarray, atoms: np.ndarray, on_first: np.ndarray, count: int) -> np.ndarray:
    """Units by their smallest position on the group's first axis (units that are not on it come last)."""
    smallest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(smallest, rows[on_first], atoms[on_first])
    return np.argsort(smallest, kind="stable")


def _entries(ledger: Ledger, axis: Axis, units: np.ndarray, atoms: np.ndarray) -> Entries:
    positions = atoms - ledger.axes[axis][0]
    order = np.lexsort((units, positions))
    return Entries(units[order], positions[order])


def _role(ledger: Ledger, axis: Axis):  # type: ignore[no-untyped-def]
    roles = ledger.roles.get(axis, set())
    return "makes" if "makes" in roles else "takes" if "takes" in roles else "follows"


def _rank(ledger: Ledger, axis: Axis) -> int:
    return ("makes", "takes", "follows").index(_role(ledger, axis))


HINTED = ("kv_group", "expert", "state", "head", "head_dim")
"""What rules call units, the strongest word first."""


def _kind(ledger: Ledger, members: tuple[Member, ...], entries: dict[Axis, Entries], size: int, hints: set[str]) -> str:
    """What users call such a unit: by what the operations did with it, else by what makes it."""
    makers = [m for m in members if m.role == "makes"]
    kinds = Counter(ledger.kinds.get(m.axis, "channel") for m in makers)
    whole = any(entries[m.axis].positions.size > size for m in makers)
    for word in HINTED:
        if word in hints and (whole or word not in ("head", "kv_group")):
            return word
    if "hidden" in hints or ("stream" in hints and ("normed" in hints or not kinds.get("channel"))):
        return "hidden"
    kind = kinds.most_common(1)[0][0] if kinds else "feature"
    return {"channel": "channel group", "neuron": "head"}.get(kind, kind) if whole and "block" in hints else kind


def _hints(ledger: Ledger, coupling: Coupling) -> dict[int, set[str]]:
    """By component: the words that rules used, and ``block`` for what covers a slice of a grid from outside."""
    found: dict[int, set[str]] = {}
    outer = [(g.factors[0], "block") for g in ledger.grids]
    for ids, word in (*ledger.hints, *outer):
        rows = coupling.rows.get(coupling.component[ids].tobytes())
        ids = ids if rows is None else np.concatenate([ids, rows.ravel()])  # what is inside a loose grid
        for c in np.unique(coupling.component[ids]).tolist():
            found.setdefault(c, set()).add(word)
    return found


def _module_of(name: str) -> str:
    """``layer1.0.conv1`` for ``layer1.0.conv1.weight``; a bare parameter keeps its name."""
    stem, _, leaf = name.rpartition(".")
    return stem if stem and leaf in ("weight", "bias", "in_proj_weight") else name


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """Groups with unique names: a second group on the same first axis gets its kind and a number."""
    from dataclasses import replace

    return tuple(replace(g, name=name) for g, name in zip(groups, _unique(groups), strict=True))


def _unique(groups: list[Group]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for group in groups:
        seen[group.name] += 1
        yield group.name if seen[group.name] == 1 else f"{group.name}#{seen[group.name]}"
