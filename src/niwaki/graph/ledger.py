"""The book in which rules write what they see: atoms, and the relations between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from niwaki.graph.labels import Reason, Site
from niwaki.units import Axis
from niwaki.units.axis import Role


@dataclass(frozen=True, eq=False)
class Tie:
    """``left[i]`` and ``right[i]`` go together."""

    left: np.ndarray
    right: np.ndarray
    site: Site


@dataclass(frozen=True, eq=False)
class Grid:
    """An axis read as a grid: ``parent[i, j, …]`` goes exactly when ``factors[0][i]`` or ``factors[1][j]`` … does.

    So each factor *covers* its slice of the parent, and the grid stays rectangular.
    """

    parent: np.ndarray
    factors: tuple[np.ndarray, ...]
    site: Site


@dataclass(frozen=True, eq=False)
class Balance:
    """The parts (arrays of atoms) must keep equally many atoms each. ``droppable``: a part may also go as a whole."""

    parts: tuple[np.ndarray, ...]
    site: Site
    droppable: bool = False


@dataclass(frozen=True, eq=False)
class Block:
    """The atoms ``ids`` may not go, because of ``reason``."""

    ids: np.ndarray
    reason: Reason


@dataclass(frozen=True, eq=False)
class Cost:
    """Multiply-adds of one operation: ``scale`` times the number of kept positions of each array in ``axes``."""

    scale: int
    axes: tuple[np.ndarray, ...]
    site: Site

    def macs(self, kept: np.ndarray) -> int:
        """Multiply-adds when ``kept`` (bool per atom) says which atoms stay."""
        total = self.scale
        for ids in self.axes:
            total *= int(kept[ids].sum())
        return total


@dataclass(eq=False)
class Ledger:
    """All relations of one trace. Atoms are consecutive integers; each tensor axis owns a contiguous run of them."""

    size: int = 0
    axes: dict[Axis, np.ndarray] = field(default_factory=dict)
    roles: dict[Axis, set[Role]] = field(default_factory=dict)
    kinds: dict[Axis, str] = field(default_factory=dict)
    ties: list[Tie] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    statistics: list[np.ndarray] = field(default_factory=list)
    rigid: list[np.ndarray] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    unruled: set[str] = field(default_factory=set)
    _starts: list[int] = field(default_factory=list)
    _owners: list[Axis | None] = field(default_factory=list)
    _by_parent: dict[tuple[object, ...], Grid] = field(default_factory=dict)
    _by_factors: dict[frozenset[bytes], Grid] = field(default_factory=dict)

    def new(self, count: int, owner: Axis | None = None) -> np.ndarray:
        """``count`` fresh atoms; virtual ones (of no tensor) unless ``owner`` is given."""
        self._starts.append(self.size)
        self._owners.append(owner)
        self.size += count
        return np.arange(self.size - count, self.size)

    def axis(self, axis: Axis, count: int) -> np.ndarray:
        """The atoms of a tensor axis, made on first use."""
        if axis not in self.axes:
            self.axes[axis] = self.new(count, axis)
        return self.axes[axis]

    def owner(self, atom: int) -> Axis | None:
        """The tensor axis that owns ``atom``; None for a virtual atom."""
        run = int(np.searchsorted(self._starts, atom, side="right")) - 1
        return self._owners[run]

    def tie(self, left: np.ndarray, right: np.ndarray, site: Site) -> None:
        if left is not right and left.size:
            self.ties.append(Tie(left, right, site))

    def balance(self, parts: Sequence[np.ndarray], site: Site, *, droppable: bool = False) -> None:
        self.balances.append(Balance(tuple(parts), site, droppable))

    def block(self, ids: np.ndarray, reason: Reason) -> None:
        if ids.size:
            self.blocks.append(Block(np.unique(ids), reason))

    def cost(self, scale: int, axes: Sequence[np.ndarray], site: Site) -> None:
        self.costs.append(Cost(scale, tuple(axes), site))

    def split(self, ids: np.ndarray, shape: tuple[int, ...], site: Site) -> tuple[np.ndarray, ...]:
        """Read distinct atoms as a grid of ``shape``; the same reading twice gives the same factors."""
        key = (ids.tobytes(), shape)
        if key not in self._by_parent:
            self._grid(ids.reshape(shape), tuple(self.new(n) for n in shape), site)
        return self._by_parent[key].factors

    def join(self, factors: tuple[np.ndarray, ...], site: Site) -> np.ndarray:
        """The grid whose factors these are, in their order: the parent that they came from, or a new virtual one.

        Reading a grid in another order than it was split in makes its factors *rigid*: the same position must then
        go in every row, not just equally many.
        """
        names = [f.tobytes() for f in factors]
        grid = self._by_factors.get(frozenset(names))
        if grid is None:
            shape = tuple(f.size for f in factors)
            grid = self._grid(self.new(int(np.prod(shape))).reshape(shape), factors, site)
        order = [[g.tobytes() for g in grid.factors].index(name) for name in names]
        if order != sorted(order):
            self.rigid.extend(factors)
        return grid.parent.transpose(order)

    def _grid(self, parent: np.ndarray, factors: tuple[np.ndarray, ...], site: Site) -> Grid:
        grid = Grid(parent, factors, site)
        self.grids.append(grid)
        self._by_parent[parent.tobytes(), parent.shape] = grid
        self._by_factors[frozenset(f.tobytes() for f in factors)] = grid
        return grid

    def owners_of(self, ids: np.ndarray) -> Iterator[Axis]:
        """The tensor axes that the atoms belong to, each once, in order of first appearance."""
        runs = np.searchsorted(self._starts, np.unique(ids), side="right") - 1
        for run in dict.fromkeys(runs.tolist()):
            if (axis := self._owners[run]) is not None:
                yield axis

    def play(self, ids: np.ndarray, role: Role, kind: str) -> None:
        """Note that the axes owning ``ids`` make or take units, and what such units are called (``"channel"``, …)."""
        for axis in self.owners_of(ids):
            self.roles.setdefault(axis, set()).add(role)
            if role == "makes":
                self.kinds.setdefault(axis, kind)
