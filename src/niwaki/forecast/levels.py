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

_MOST = 12  # widths of a group
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

    def selection(self, chosen: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The units that go, by group, when level ``chosen[g]`` is taken of every group."""
        found = zip(self.ladders, self.steps, chosen, strict=True)
        return {rungs.group.name: rungs.chosen(steps[k]) for rungs, steps, k in found}

    @cached_property
    def gone(self) -> list[list[np.ndarray]]:
        """For each group and level the atoms that go, ascending."""
        graph = self.forecast.graph
        return [
            [np.flatnonzero(graph.removed_atoms({r.group.name: r.chosen(k)})) for k in steps]
            for r, steps in zip(self.ladders, self.steps, strict=True)
        ]

    def costs(self) -> Costs:
        """By the forecast, scaled as it scales."""
        book = _Book(self)
        c = self.forecast.coefficients
        for layer in self.forecast.layers.layers:
            surface, work = self.forecast.surfaces[layer.shape], layer.work
            lengths = (work.made, work.taken, work.source)
            book.enter(lengths, lambda sizes, s=surface, f=work.form: _ms(s, Task(f, *sizes), c.layers, c.odd))  # type: ignore[misc]
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


class _Book:
    """Adds up what operations cost, by the groups that decide their lengths."""

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self.fixed = 0.0
        self.alone: dict[int, np.ndarray] = {}
        self.together: dict[Pair, np.ndarray] = {}
        self._known: dict[bytes, dict[int, np.ndarray]] = {}
        self._scratch = np.zeros(levels.forecast.graph.ledger.size, bool)
        self._owner = np.zeros((len(levels.ladders), levels.forecast.graph.ledger.size), bool)
        for g, gone in enumerate(levels.gone):
            self._owner[g, gone[-1]] = True

    def enter(self, lengths: Sequence[Length], cost: Callable[[list[int]], float]) -> None:
        """An operation: its lengths, and milliseconds as a function of what is left of them."""
        lost = [self._lost(length) for length in lengths]
        whole = [length.size if isinstance(length, np.ndarray) else length for length in lengths]
        groups = sorted({g for found in lost for g in found})

        def left(levels: Mapping[int, int]) -> float:
            gone = [sum(int(found[g][k]) for g, k in levels.items() if g in found) for found in lost]
            return cost([max(1, n - m) for n, m in zip(whole, gone, strict=True)])

        dense = left({})
        self.fixed += dense
        if len(groups) == 2:
            pair = Pair(*groups)
            sizes = [len(self.levels.steps[g]) for g in pair]
            table = [[left({pair.left: k, pair.right: m}) - dense for m in range(sizes[1])] for k in range(sizes[0])]
            self.together[pair] = self.together.get(pair, 0.0) + np.array(table)
            return
        for g in groups:  # of several, each as if the others stayed whole
            row = np.array([left({g: k}) - dense for k in range(len(self.levels.steps[g]))])
            self.alone[g] = self.alone.get(g, 0.0) + row

    def _lost(self, length: Length) -> dict[int, np.ndarray]:
        """For each group that takes from an axis: how many positions, at each level."""
        if not isinstance(length, np.ndarray):
            return {}
        key = length.tobytes()
        if key not in self._known:
            touching = np.flatnonzero(self._owner[:, length].any(axis=1))
            self._known[key] = {int(g): self._counts(int(g), length) for g in touching}
        return self._known[key]

    def _counts(self, group: int, length: np.ndarray) -> np.ndarray:
        found = []
        for gone in self.levels.gone[group]:
            self._scratch[gone] = True
            found.append(int(self._scratch[length].sum()))
            self._scratch[gone] = False
        return np.array(found)


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
