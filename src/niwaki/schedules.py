"""How strong, when? A schedule is a frozen value that gives a number for each update."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from niwaki.errors import BadInput


@dataclass(frozen=True)
class Ramp:
    """``start + grow × n`` at the ``n``-th update (n = 1, 2, …); an update falls on every ``every``-th step, the first
    on step 0 (GReg, Sec. 3.2: add ``δλ`` every ``K_u`` iterations)."""

    grow: float
    every: int = 1
    start: float = 0.0

    def __post_init__(self) -> None:
        above_zero(self.grow, "grow")
        _whole(self.every)
        _finite(self.start, "start")

    def updates(self, step: int) -> bool:
        """Does an update fall on this step (0, 1, …)?"""
        return step % self.every == 0

    def at(self, update: int) -> float:
        """The value after ``update`` updates. A product, not a running sum, so that resuming is exact."""
        return self.start + self.grow * update


@dataclass(frozen=True)
class Constant:
    """The same value always; it is looked at every ``every`` steps."""

    value: float
    every: int = 10

    def __post_init__(self) -> None:
        _whole(self.every)
        _finite(self.value, "value")

    def updates(self, step: int) -> bool:
        return step % self.every == 0

    def at(self, update: int) -> float:
        return self.value


Schedule = Ramp | Constant


def geometric(removed: float, rounds: int) -> tuple[float, ...]:
    """Shares removed after each of so many rounds, each of which removes the same share of what is left:
    ``1 - (1 - removed)^(k / rounds)`` (Frankle and Carbin 2019)."""
    return (*(1 - (1 - removed) ** (k / rounds) for k in range(1, rounds)), removed)


def linear(removed: float, rounds: int) -> tuple[float, ...]:
    """Shares removed after each of so many rounds, each of which removes the same number: ``removed × k / rounds``."""
    return (*(removed * k / rounds for k in range(1, rounds)), removed)


def cubic(removed: float, first: float, progress: float) -> float:
    """Share removed at a progress from 0 to 1: ``removed + (first - removed) (1 - progress)³`` (Zhu and Gupta 2017,
    Eq. 1)."""
    return removed + (first - removed) * (1 - progress) ** 3


def per_round(rounds: Sequence[int], warmup: float = 0.0) -> Callable[[int], float]:
    """The share of the highest learning rate at a step (0, 1, …), which starts anew in every round: in a straight line
    up to 1 over a share ``warmup`` of the round's steps, and down to 0 at the step after its last. After all rounds: 0.

    For ``torch.optim.lr_scheduler.LambdaLR(optimizer, per_round(method.rounds))``.

    Args:
        rounds: steps of each (:attr:`niwaki.methods.Method.rounds`).

    Raises:
        BadInput: there are none.
    """
    if not rounds:
        raise BadInput(
            "per_round starts the rate anew in each round, and there is none: the method takes no steps, or as many as "
            "it needs (method.rounds is empty). Give a method with steps (nk.methods.imp), or another schedule."
        )
    if not 0 <= warmup <= 1:
        raise BadInput(f"warmup is the share of a round's steps in which the rate rises, 0 to 1, not {warmup!r}")

    def share(step: int) -> float:
        steps, done = within_round(rounds, step)
        rising = round(warmup * steps)
        return done / rising if done < rising else (steps - done) / max(1, steps - rising)

    return share


def within_round(rounds: Sequence[int], step: int) -> tuple[int, int]:
    """How many steps has the round in which a step (0, 1, …) lies, and how many come before it there? After all rounds:
    as many as the last one has."""
    ends = list(accumulate(rounds))
    at = bisect_right(ends, step)
    if at == len(ends):
        return rounds[-1], rounds[-1]
    return rounds[at], step - (ends[at] - rounds[at])


def above_zero(value: object, what: str) -> None:
    """Raise :class:`BadInput` unless ``value`` is a finite number above 0."""
    if not _is_finite(value) or value <= 0:  # type: ignore[operator]
        raise BadInput(f"{what} must be a number above 0, not {value!r}")


def not_below_zero(value: object, what: str) -> None:
    """Raise :class:`BadInput` unless ``value`` is a finite number of at least 0."""
    if not _is_finite(value) or value < 0:  # type: ignore[operator]
        raise BadInput(f"{what} must be a number of at least 0, not {value!r}")


def _finite(value: object, what: str) -> None:
    """A factor that is no number is above no ceiling, so that pressing would never end."""
    if not _is_finite(value):
        raise BadInput(f"{what} must be a finite number, not {value!r}")


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(every: object) -> None:
    if type(every) is not int or every < 1:
        raise BadInput(f"every must be a whole number of at least 1, not {every!r}")
