"""The order in which a group gives up its units, in legal steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from niwaki.errors import BadInput, IllegalPlan
from niwaki.units import Group, Parts


@dataclass(frozen=True, eq=False)
class Ladder:
    """One legal step after another, least worth first.

    ``order``: unit numbers, step by step. ``ends``: how many units have gone after each step. ``worth``: what a unit of
    each step is worth on average; ``mean``: what one of the group is.
    """

    group: Group
    order: np.ndarray
    ends: np.ndarray
    worth: np.ndarray
    mean: float

    def __len__(self) -> int:
        return self.ends.size

    def chosen(self, count: int) -> tuple[int, ...]:
        """The units of the first ``count`` steps, ascending."""
        taken = self.order[: self.ends[count - 1]] if count > 0 else self.order[:0]
        return tuple(np.sort(taken).tolist())

    def steps_for(self, units: int) -> int:
        """The most steps that remove no more than ``units`` units."""
        return int(np.searchsorted(self.ends, units, side="right"))


def ladder(group: Group, worth: np.ndarray, multiple: int) -> Ladder:
    """Legal steps of a group. Under a balance a step takes the same weight from every part, of the least units there;
    under rounding, enough of them to reach the next multiple. At least one unit (of every part) stays, and as many as
    the group says."""
    if worth.shape != (len(group),) or not np.isfinite(worth).all():
        raise BadInput(f"the score of group {group.name!r} must be {len(group)} finite numbers, one per unit")
    steps = _steps(group, worth)
    if len(group.parts) > 1:  # the steps were cut to fit the finest balance
        steps = steps[[_legal(group, step) for step in steps]]
    order, width = steps.ravel(), steps.shape[1]
    ends = np.arange(1, len(steps) + 1) * width
    left = len(group) - ends
    ends = ends[(left >= group.least) & (left % math.lcm(multiple, group.multiple) == 0)]
    order = order[: ends[-1]] if ends.size else order[:0]
    starts = np.concatenate([[0], ends[:-1]]).astype(int)
    means = np.add.reduceat(worth[order], starts) / (ends - starts) if ends.size else np.empty(0)
    return Ladder(group, order, ends, means, float(worth.mean()))


def _steps(group: Group, worth: np.ndarray) -> np.ndarray:
    """The smallest sets of units that may go together, a row each, least worth first; ties by number."""
    order = np.argsort(worth, kind="stable")
    if not group.parts:
        return order[:-1, None]
    finest = max(group.parts, key=len)
    by_part = _by_part(order, finest)
    weights = [int(finest.weight[units[0]]) for units in by_part]
    each = [math.lcm(*weights) // w for w in weights]
    count = min(math.ceil(units.size / n) for units, n in zip(by_part, each, strict=True)) - 1
    columns = [units[: count * n].reshape(count, n) for units, n in zip(by_part, each, strict=True)]
    return np.concatenate(columns, axis=1)


def _by_part(order: np.ndarray, parts: Parts) -> list[np.ndarray]:
    """The units of each part, in the given order."""
    of = parts.of[order]
    sort = np.argsort(of, kind="stable")
    ends = np.searchsorted(of[sort], np.arange(len(parts) + 1))
    return [order[sort[a:b]] for a, b in pairwise(ends)]


def _legal(group: Group, step: np.ndarray) -> bool:
    try:
        group.check(step)
    except IllegalPlan:
        return False
    return True


__all__ = ["Ladder", "ladder"]
