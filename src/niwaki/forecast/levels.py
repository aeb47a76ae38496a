"""The widths that each group may choose from, what each is worth, and what each pair of them costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from niwaki.forecast.forecast import Forecast
from niwaki.forecast.likes import liked
from niwaki.forecast.shapes import Surface
from niwaki.graph.work import Length, Task
from niwaki.surgery.ladders import Ladder

_MOST = 12  # widths of a group, beside the dense one
_DEEPEST = 1 / 16  # of a group's units stay at least


class Pair(NamedTuple):
    """Two groups, by number, whose widths decide together."""

    left: int
    right: int


@dataclass(frozen=True, eq=False)
class Costs:
    """Milliseconds of a plan that takes level ``k`` of each group: ``fixed``, ``alone[group][k]``, and
    ``together[pair][k, l]``, added up."""

    fixed: float
    alone: Mapping[int, np.ndarray]
    together: Mapping[Pair, np.ndarray]

    def of(self, chosen: Sequence[int]) -> float:
        """Milliseconds when level ``chosen[g]`` is taken of every group."""
        found = self.fixed + sum(float(row[chosen[g]]) for g, row in self.alone.items())
        return found + sum(float(t[chosen[p.left], chosen[p.right]]) for p, t in self.together.items())


class Levels:
    """``steps[g]``: for each level of a group how many steps of its ladder go, from none up. ``worth[g]``: what those
    levels keep, in units of average importance."""

    def __init__(self, forecast: Forecast, ladders: Sequence[Ladder]) -> None:
        self.forecast, self.ladders = forecast, ladders
        likes = liked(forecast)
        self.steps = tuple(_steps(rungs, likes[rungs.group.name].multiple) for rungs in ladders)
        self.worth = tuple(_worth(rungs, steps) for rungs, steps in zip(ladders, self.steps, strict=True))
        self._axes: dict[bytes, Axis] = {}

    def selection(self, chosen: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The units that go, by group, when level ``chosen[g]`` is taken of every group."""
        found = zip(self.ladders, self.steps, chosen, strict=True)
        return {rungs.group.name: rungs.chosen(steps[k]) for rungs, steps, k in found}

    def worth_of(self, chosen: Sequence[int]) -> float:
        """All that these levels keep."""
        return sum(float(row[k]) for row, k in zip(self.worth, chosen, strict=True))

    @cached_property
    def gone(self) -> list[list[np.ndarray]]:
        """For each group and level the atoms that go, ascending."""
        graph = self.forecast.graph
        return [
            [np.flatnonzero(graph.removed_atoms({r.group.name: r.chosen(k)})) for k in steps]
            for r, steps in zip(self.ladders, self.steps, strict=True)
        ]

    @cached_property
    def _owner(self) -> np.ndarray:
        """Bool of (group, atom): can the group take it?"""
        found = np.zeros((len(self.ladders), self.forecast.graph.ledger.size), bool)
        for g, gone in enumerate(self.gone):
            found[g, gone[-1]] = True
        return found

    def axis(self, length: Length) -> Axis:
        """What the levels leave of a length."""
        if not isinstance(length, np.ndarray):
            return Axis(self, np.empty(0, np.int64), length, ())
        key = length.tobytes()
        if key not in self._axes:
            groups = tuple(np.flatnonzero(self._owner[:, length].any(axis=1)).tolist())
            self._axes[key] = Axis(self, length, length.size, groups)
        return self._axes[key]

    def costs(self, around: Sequence[int] | None = None) -> Costs:
        """By the forecast, scaled as it scales. Exact, but for operations that three groups or more decide: of those
        each group's part is taken while the others are at the levels ``around`` (dense, if None)."""
        book = _Book(self, around or [0] * len(self.steps))
        c = self.forecast.coefficients
        for layer in self.forecast.layers.layers:
            surface, work = self.forecast.surfaces[layer.shape], layer.work
            book.enter(work.lengths, lambda left, s=surface, w=work: _ms(s, w.at(left), c.layers, c.odd))  # type: ignore[misc]
        for size, axes in self.forecast.layers.others:
            book.enter(axes, lambda sizes, n=size: c.volume * n * math.prod(sizes) / 1e6)  # type: ignore[misc]
        scale = self.forecast.scale
        return Costs(
            scale * (book.fixed + c.fixed),
            {g: scale * row for g, row in book.alone.items()},
            {pair: scale * table for pair, table in book.together.items()},
        )


def _ms(surface: Surface, task: Task, layers: float, odd: float) -> float:
    smooth, more = surface.at(task)
    return layers * smooth + odd * more


class Axis:
    """A length of a tensor: ``groups`` (by number) take from its atoms."""

    def __init__(self, levels: Levels, atoms: np.ndarray, size: int, groups: tuple[int, ...]) -> None:
        self.levels, self.atoms, self.size, self.groups = levels, atoms, size, groups
        self._known: dict[tuple[int, ...], int] = {}

    def left(self, chosen: Mapping[int, int]) -> int:
        """How much is left when these groups are at these levels, and all others whole; at least one."""
        key = tuple(chosen.get(g, 0) for g in self.groups)
        if key not in self._known:
            stays = np.ones(self.levels.forecast.graph.ledger.size, bool)
            for g, k in zip(self.groups, key, strict=True):
                stays[self.levels.gone[g][k]] = False
            self._known[key] = max(1, int(stays[self.atoms].sum())) if self.groups else self.size
        return self._known[key]


class _Book:
    """Adds up what operations cost, by the groups that decide their lengths."""

    def __init__(self, levels: Levels, around: Sequence[int]) -> None:
        self.levels, self.around = levels, around
        self.fixed = 0.0
        self.alone: dict[int, np.ndarray] = {}
        self.together: dict[Pair, np.ndarray] = {}

    def enter(self, lengths: Sequence[Length], cost: Callable[[list[int]], float]) -> None:
        """An operation: its lengths, and milliseconds as a function of what is left of them."""
        axes = [self.levels.axis(length) for length in lengths]
        groups = sorted({g for axis in axes for g in axis.groups})

        def at(chosen: Mapping[int, int]) -> float:
            return cost([axis.left(chosen) for axis in axes])

        if len(groups) == 2:
            self._pair(Pair(*groups), at)
            return
        here = {g: self.around[g] for g in groups} if len(groups) > 2 else dict.fromkeys(groups, 0)
        whole = at(here)
        self.fixed += whole
        for g in groups:
            row = np.array([at({**here, g: k}) - whole for k in range(len(self.levels.steps[g]))])
            self.alone[g] = self.alone.get(g, 0.0) + row

    def _pair(self, pair: Pair, at: Callable[[Mapping[int, int]], float]) -> None:
        rows, columns = (range(len(self.levels.steps[g])) for g in pair)
        table = np.array([[at({pair.left: k, pair.right: m}) for m in columns] for k in rows])
        self.together[pair] = self.together.get(pair, 0.0) + table


def _steps(rungs: Ladder, multiple: int) -> tuple[int, ...]:
    """Steps of the ladder after which the width is liked, evenly spread, none and the deepest among them."""
    size = len(rungs.group)
    kept = size - rungs.ends
    good = [k + 1 for k, n in enumerate(kept) if n % multiple == 0 and n >= _DEEPEST * size]
    good = good or [k + 1 for k, n in enumerate(kept) if n >= _DEEPEST * size]
    if len(good) > _MOST:
        places = np.unique(np.linspace(0, len(good) - 1, _MOST).round().astype(int))
        good = [good[k] for k in places]
    return (0, *good)


def _worth(rungs: Ladder, steps: Sequence[int]) -> np.ndarray:
    """Importance that each level keeps, over that of an average unit. (Where all units are worth nothing: how many.)"""
    sizes = np.diff(rungs.ends, prepend=0)
    gone = np.concatenate([[0.0], np.cumsum(rungs.worth * sizes)])[list(steps)]
    if rungs.mean <= 0:
        return len(rungs.group) - np.concatenate([[0], rungs.ends])[list(steps)].astype(float)
    return len(rungs.group) - gone / rungs.mean


__all__ = ["Costs", "Levels", "Pair"]
