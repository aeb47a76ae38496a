"""Which widths of a layer are timed, and what they say of all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Literal

from niwaki.graph.work import Task

SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
"""Of the dense width: the rungs of the ladder."""
MULTIPLES = (1, 4, 8, 16, 32)
"""Widths that kernels may like."""
BELOW = (1, 4, 8, 16)
"""So far below a width that kernels like, others show which it is that they like."""
_CLEARLY = 0.8  # a larger multiple must explain what was measured better than a smaller one by this factor

_TINY = 1e-6  # milliseconds

Side = Literal["made", "taken"]


@dataclass(frozen=True)
class Stairs:
    """Other widths than multiples of ``multiple`` take as long as the next one, and a share of ``dearer`` longer."""

    multiple: int = 1
    dearer: float = 0.0

    def fits(self, width: int, most: int) -> bool:
        return width % self.multiple == 0 or width >= most

    def up(self, width: int, most: int) -> int:
        """The next width that fits."""
        return width if self.fits(width, most) else min(most, math.ceil(width / self.multiple) * self.multiple)


@dataclass(frozen=True)
class Shape:
    """A layer as it is dense, and which of its two sides a cut can make narrower."""

    dense: Task
    varies: frozenset[Side]

    @property
    def tied(self) -> bool:
        """Depthwise and grouped convolutions: both sides go together, a group at a time."""
        return self.dense.groups > 1

    @property
    def channels(self) -> int:
        """Of what is made, for each step of the ladder: of a group of a convolution that has several; else one."""
        return self.dense.made // self.dense.groups if self.tied else 1

    @property
    def most(self) -> tuple[int, int]:
        """Dense widths: of what is made, and of what is taken. Tied: groups, and one."""
        return (self.dense.groups, 1) if self.tied else (self.dense.made, self.dense.taken)

    @cached_property
    def sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The rungs of both."""
        made, taken = self.most
        if self.tied:
            return (rungs(made) if self.varies else (made,)), (1,)
        return (rungs(made) if "made" in self.varies else (made,)), (
            rungs(taken) if "taken" in self.varies else (taken,)
        )

    def at(self, made: int, taken: int) -> Task:
        """The layer at these widths."""
        if not self.tied:
            return replace(self.dense, made=made, taken=taken, source=taken)
        dense, groups = self.dense, self.dense.groups
        return replace(dense, made=dense.made // groups * made, source=dense.source // groups * made)

    def widths(self, task: Task) -> tuple[int, int]:
        """Of a layer of this shape. Tied: that of groups as wide as the dense ones which has as much to do."""
        if not self.tied:
            return task.made, task.taken
        return max(1, round(self.dense.groups * task.macs / self.dense.macs)), 1

    @cached_property
    def grid(self) -> tuple[Task, ...]:
        """What is timed, but for the probes."""
        return tuple(self.at(made, taken) for made, taken in product(*self.sides))

    @cached_property
    def probes(self) -> tuple[tuple[int, int], ...]:
        """Widths that kernels may not like: first on the one side, then on the other, then on both."""
        made, taken = self.most
        rows, columns = ([] if len(rungs) == 1 else odd(n) for rungs, n in zip(self.sides, self.most, strict=True))
        both = [(rows[0], columns[0])] if rows and columns else []
        return (*((m, taken) for m in rows), *((made, t) for t in columns), *both)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All that is timed."""
        return (*self.grid, *(self.at(*widths) for widths in self.probes))


@dataclass(frozen=True)
class Surface:
    """How long a layer takes at any width, from those that were timed: linear between them in each side, so that what
    is spent per output, per input and per product is told apart; and in stairs where kernels like multiples."""

    shape: Shape
    times: Mapping[Task, float]

    def at(self, task: Task) -> tuple[float, float]:
        """Milliseconds as if every width were liked alike, and those that come on top because it is not; of fewer rows,
        so much less."""
        widths = self.shape.widths(task)
        smooth, rows = self._smooth(*widths), task.form.each / self.shape.dense.form.each
        return rows * smooth, rows * (self.ms(*widths) - smooth)

    def ms(self, made: int, taken: int) -> float:
        """Milliseconds at these widths."""
        rows, columns = self.stairs
        most = self.shape.most
        off = (not rows.fits(made, most[0]), not columns.fits(taken, most[1]))
        dearer = {(False, False): 0.0, (True, False): rows.dearer, (False, True): columns.dearer}.get(off, self.both)
        return self._smooth(rows.up(made, most[0]), columns.up(taken, most[1])) * (1 + dearer)

    @cached_property
    def stairs(self) -> tuple[Stairs, Stairs]:
        """For both sides."""
        made, taken = self.shape.most
        rows = [m for m, t in self.shape.probes if t == taken and m != made]
        columns = [t for m, t in self.shape.probes if m == made and t != taken]
        return (
            fitted(rows, [self._measured(m, taken) for m in rows], lambda m: self._smooth(m, taken), made),
            fitted(columns, [self._measured(made, t) for t in columns], lambda t: self._smooth(made, t), taken),
        )

    @cached_property
    def both(self) -> float:
        """How much dearer it is when neither side fits."""
        made, taken = self.shape.most
        rows, columns = self.stairs
        off = [(m, t) for m, t in self.shape.probes if not (rows.fits(m, made) or columns.fits(t, taken))]
        if not off:
            return max(rows.dearer, columns.dearer)
        found = [self._measured(m, t) / self._smooth(rows.up(m, made), columns.up(t, taken)) - 1 for m, t in off]
        return max(0.0, sum(found) / len(found))

    def _measured(self, made: int, taken: int) -> float:
        return self.times[self.shape.at(made, taken)]

    def _smooth(self, made: int, taken: int) -> float:
        """As if every width were liked alike."""
        rows, columns = self.shape.sides
        lines = [along(columns, [self._measured(m, t) for t in columns], taken) for m in rows]
        return max(_TINY, along(rows, lines, made))


def fitted(widths: Sequence[int], times: Sequence[float], smooth: Callable[[int], float], most: int) -> Stairs:
    """The stairs that explain best what ``widths`` took; of two that do alike, those of the smaller multiple."""
    best, least = Stairs(), math.inf
    for multiple in MULTIPLES if widths else ():
        stairs = Stairs(multiple)
        level = [math.log(t / smooth(stairs.up(w, most))) for w, t in zip(widths, times, strict=True)]
        off = [not stairs.fits(w, most) for w in widths]
        beside = [x for x, o in zip(level, off, strict=True) if o]
        dearer = max(0.0, sum(beside) / len(beside)) if beside else 0.0
        error = sum((x - dearer * o) ** 2 for x, o in zip(level, off, strict=True))
        if error < _CLEARLY * least:
            best, least = Stairs(multiple, math.expm1(dearer)), error
    return best


def rungs(width: int) -> tuple[int, ...]:
    """Ascending widths to be timed, the dense one last."""
    step = 16 if width >= 32 else 8 if width >= 16 else 4 if width >= 8 else 1
    return tuple(sorted({min(width, max(1, math.ceil(width * share / step) * step)) for share in SHARES} | {width}))


def odd(width: int) -> list[int]:
    """Widths that show which multiples are liked: a little below one that all kernels like."""
    unit = 32 if width >= 64 else 16 if width >= 24 else 8 if width >= 12 else 0
    base = width * 3 // 4 // unit * unit if unit else 0
    return [base - gap for gap in BELOW if gap < base]


def along(places: Sequence[float], heights: Sequence[float], place: float) -> float:
    """A line through the two measured points beside ``place``, or through the nearest two."""
    if len(places) == 1:
        return heights[0]
    right = next((k for k in range(1, len(places)) if places[k] >= place), len(places) - 1)
    (x0, x1), (y0, y1) = places[right - 1 : right + 1], heights[right - 1 : right + 1]
    return y0 + (y1 - y0) * (place - x0) / (x1 - x0)


__all__ = ["MULTIPLES", "Shape", "Stairs", "Surface", "along", "fitted", "odd", "rungs"]
