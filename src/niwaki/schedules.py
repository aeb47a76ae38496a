"""How strong, when? A schedule is a frozen value that gives a number for each update."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def above_zero(value: object, what: str) -> None:
    """Raise :class:`BadInput` unless ``value`` is a finite number above 0."""
    if not _is_finite(value) or value <= 0:  # type: ignore[operator]
        raise BadInput(f"{what} must be a number above 0, not {value!r}")


def _finite(value: object, what: str) -> None:
    """A factor that is no number is above no ceiling, so that pressing would never end."""
    if not _is_finite(value):
        raise BadInput(f"{what} must be a finite number, not {value!r}")


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(every: object) -> None:
    if type(every) is not int or every < 1:
        raise BadInput(f"every must be a whole number of at least 1, not {every!r}")
