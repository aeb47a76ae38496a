"""The book in which rules write what they see: atoms, and the relations between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from niwaki.graph.labels import Reason, Site
from niwaki.graph.work import Work
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
    """The parts (arrays of atoms) must keep equally many atoms each. ``droppable``: a part may also go as a whole.
    ``guessed``: the operation was a slice that looks like one of equal parts, and may be something else.
    """

    parts: tuple[np.ndarray, ...]
    site: Site
    droppable: bool = False
    guessed: bool = False


@dataclass(frozen=True, eq=False)
class Block:
    """The atoms ``ids`` may not go, because of ``reason``."""

    ids: np.ndarray
    reason: Reason


@dataclass(frozen=True, eq=False)
class Statistic:
    """A function that averages, normalises or ranks over the atoms ``ids`` along dimension ``dim`` of its input.

    ``turn``: it was the so-manieth call of such a function in the forward pass, ``function`` its name; with these the
    same call is found again when the model runs by itself.
    """

    ids: np.ndarray
    dim: int
    function: str
    turn: int


@dataclass(frozen=True, eq=False)
class Extent:
    """The length of ``ids`` was asked for by number, or may have been, by the code of ``module``.

    ``made``: the operation made the dimension (a split, a merger, a slice), rather than naming it again.
    """

    ids: np.ndarray
    module: str
    made: bool = True


@dataclass(frozen=True, eq=False)
class Number:
    """The whole number ``attribute`` of ``module`` says how long the ``extents`` are, and must follow them.

    ``attribute`` is a name on the module, or ``config.NAME``.
    """

    module: str
    attribute: str
    value: int
    extents: tuple[np.ndarray, ...]

    @property
    def site(self) -> Site:
        return Site("number", self.module, f"attribute {self.attribute}")


@dataclass(frozen=True, eq=False)
class Made:
    """A dimension of ``size`` alike positions, made on the spot. All that it ``met`` (arrays of atoms by their bytes)
    stays as long as it is, and so equally long."""

    size: int
    site: Site
    met: dict[bytes, np.ndarray] = field(default_factory=dict)

    @property
    def extents(self) -> tuple[np.ndarray, ...]:
        return tuple(self.met.values())


@dataclass(frozen=True, eq=False)
class Cost:
    """Multiply-adds of one operation: ``scale`` times the number of kept positions of each array in ``axes``. ``work``:
    what it computes, where that can be said."""

    scale: int
    axes: tuple[np.ndarray, ...]
    site: Site
    work: Work | None = None

    def macs(self, kept: np.ndarray) -> int:
        """Multiply-adds when ``kept`` (bool per atom) says which atoms stay."""
        total = self.scale
        for ids in self.axes:
            total *= int(kept[ids].sum())
        return total


@dataclass(eq=False)
class Ledger:
    """All relations of one trace. Atoms are consecutive integers; each tensor axis owns a contiguous run of them.

    ``written``: every result that an operation computed (rather than looked at in another way), one row each: where,
    and its lengths with the atoms of each.
    """

    size: int = 0
    axes: dict[Axis, np.ndarray] = field(default_factory=dict)
    roles: dict[Axis, set[Role]] = field(default_factory=dict)
    kinds: dict[Axis, str] = field(default_factory=dict)
    ties: list[Tie] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    statistics: list[Statistic] = field(default_factory=list)
    extents: list[Extent] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    least: list[tuple[np.ndarray, int]] = field(default_factory=list)
    multiples: list[tuple[np.ndarray, int]] = field(default_factory=list)
    hints: list[tuple[np.ndarray, str]] = field(default_factory=list)
    suspects: list[np.ndarray] = field(default_factory=list)
    untaken: dict[bytes, tuple[np.ndarray, set[int], Site]] = field(default_factory=dict)
    constants: dict[tuple[str, str, str], set[tuple[object, ...]]] = field(default_factory=dict)
    rigid: list[np.ndarray] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    unruled: set[str] = field(default_factory=set)
    contexts: dict[tuple[int, bytes], tuple[np.ndarray, tuple[np.ndarray, ...]]] = field(default_factory=dict)
    calls: list[tuple[Site, tuple[tuple[int, np.ndarray | None], ...]]] = field(default_factory=list)
    written: list[tuple[Site, tuple[tuple[int, np.ndarray | None], ...]]] = field(default_factory=list)
    outer: set[bytes] = field(default_factory=set)
    copies: set[bytes] = field(default_factory=set)
    _starts: list[int] = field(default_factory=list)
    _owners: list[Axis | None] = field(default_factory=list)
    _by_parent: dict[tuple[object, ...], Grid] = field(default_factory=dict)
    _by_factors: dict[frozenset[bytes], Grid] = field(default_factory=dict)
    _inner: dict[int, Grid] = field(default_factory=dict)
    _first: dict[bytes, Grid] = field(default_factory=dict)

    @contextmanager
    def only_relations(self) -> Iterator[None]:
        """Inside, a pass may relate and block axes; what it ran and what that cost is forgotten."""
        records: tuple[list[Any], ...] = (self.calls, self.written, self.costs, self.statistics)
        lengths, constants = [len(r) for r in records], {place: set(found) for place, found in self.constants.items()}
        try:
            yield
        finally:
            for record, length in zip(records, lengths, strict=True):
                del record[length:]
            self.constants = constants

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

    def balance(self, parts: Sequence[np.ndarray], site: Site, *, guessed: bool = False) -> None:
        self.balances.append(Balance(tuple(parts), site, guessed=guessed))

    def block(self, ids: np.ndarray, reason: Reason) -> None:
        if ids.size:
            self.blocks.append(Block(np.unique(ids), reason))

    def cost(self, scale: int, axes: Sequence[np.ndarray], site: Site, work: Work | None = None) -> None:
        self.costs.append(Cost(scale, tuple(axes), site, work))

    def split(self, ids: np.ndarray, shape: tuple[int, ...], site: Site) -> tuple[np.ndarray, ...]:
        """Read distinct atoms as a grid of ``shape``; the same reading twice gives the same factors.

        A second reading of another shape shares what it can with the first: where both have a border, the factors
        between are split or joined, so that (heads, 3 × dim) and (heads, 3, dim) agree on the heads.
        """
        key = (ids.tobytes(), shape)
        if key not in self._by_parent:
            first = self._first.get(ids.tobytes())
            factors = self._reread(first, shape, site) if first is not None else None
            if factors is None:
                self._grid(ids.reshape(shape), tuple(self.new(n) for n in shape), site)
            else:
                self._remember(Grid(ids.reshape(shape), factors, site))
        return self._by_parent[key].factors

    def _reread(self, grid: Grid, shape: tuple[int, ...], site: Site) -> tuple[np.ndarray, ...] | None:
        """Factors for ``shape`` out of those of a grid over the same atoms; None if they share no border."""
        pieces = list(matching(grid.parent.shape, shape))
        if len(pieces) < 2:
            return None
        factors: list[np.ndarray] = []
        for olds, news in pieces:
            run = [grid.factors[k] for k in olds]
            whole = run[0] if len(run) == 1 else self.join(tuple(run), site).reshape(-1)
            factors += [whole] if len(news) == 1 else self.split(whole, tuple(shape[k] for k in news), site)
        return tuple(factors)

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
        self._first.setdefault(parent.tobytes(), grid)
        self._inner.update(dict.fromkeys(factors[-1].tolist(), grid))
        self._remember(grid)
        return grid

    def _remember(self, grid: Grid) -> None:
        self._by_parent[grid.parent.tobytes(), grid.parent.shape] = grid
        self._by_factors[frozenset(f.tobytes() for f in grid.factors)] = grid
        self.outer.update(factor.tobytes() for factor in grid.factors[:-1])

    def is_inner(self, ids: np.ndarray) -> bool:
        """Are these positions, or some of those, inside the blocks of a grid?"""
        return bool(ids.size) and int(ids[0]) in self._inner

    def beside(self, labels: Sequence[np.ndarray]) -> None:
        """Note which dimensions stand beside the inner factors of grids: inside a head, a position means the same in
        every tensor only as long as the heads are there too."""
        for ids in labels:
            if self.is_inner(ids):
                others = tuple(other for other in labels if other is not ids)
                key = (int(ids[0]), b"|".join(sorted(other.tobytes() for other in others)))
                self.contexts.setdefault(key, (ids, others))

    def owners_of(self, ids: np.ndarray) -> Iterator[Axis]:
        """The tensor axes that the atoms belong to, each once, in order of their atoms."""
        if not ids.size:
            return
        runs = np.searchsorted(self._starts, [ids.min(), ids.max()], side="right") - 1
        if runs[0] != runs[1]:
            runs = np.searchsorted(self._starts, ids, side="right") - 1
            runs = runs[np.flatnonzero(np.diff(runs, prepend=-1))]
        for run in sorted(set(runs.tolist())):
            if (axis := self._owners[run]) is not None:
                yield axis

    def play(self, ids: np.ndarray, role: Role, kind: str) -> None:
        """Note that the axes owning ``ids`` make or take units, and what such units are called (``"channel"``, …)."""
        for axis in self.owners_of(ids):
            self.roles.setdefault(axis, set()).add(role)
            if role == "makes":
                self.kinds.setdefault(axis, kind)


def matching(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Match runs of dimensions of equal product, left to right. Dimensions of length 1 come and go freely."""
    i = j = 0
    while i < len(old) or j < len(new):
        olds, news, left, right = [], [], 1, 1
        while True:
            if left == right and left > 1:
                break
            if left <= right and i < len(old):
                olds.append(i)
                left *= old[i]
                i += 1
            elif j < len(new):
                news.append(j)
                right *= new[j]
                j += 1
            else:
                break
        olds = [k for k in olds if old[k] > 1]
        news = [k for k in news if new[k] > 1]
        if olds or news:
            yield olds, news
