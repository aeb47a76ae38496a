"""What a method may see, and what it may ask for. It never touches a model, an optimizer or a loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from niwaki.penalties import Penalty
from niwaki.scores import Score
from niwaki.targets import Target
from niwaki.units import Selection


class View(Protocol):
    """The model, as a method sees it."""

    chosen: dict[str, tuple[int, ...]]
    """Units chosen so far, by group."""
    pressure: dict[str, float]
    """Penalty factor now on the chosen units, by group."""
    kept_pressure: dict[str, float]
    """Penalty factor now on all the others; below 0, they are let grow."""

    @property
    def recording(self) -> bool:
        """Is this a step whose figures should be recorded?"""
        ...

    def worth(self, score: Score) -> Mapping[str, Tensor]:
        """The score of every unit, by group."""
        ...

    def offered(self, target: Target) -> list[str]:
        """Names of the groups of which a target may take units."""
        ...

    def select(self, worth: Mapping[str, Tensor], target: Target) -> Selection:
        """The units that must go to reach the target."""
        ...

    def note(self, **figures: Any) -> None:
        """Add a row to the run's record."""
        ...


@dataclass(frozen=True)
class Pressing:
    """A penalty in one step: its factor on the chosen units, and on the kept ones, by group."""

    penalty: Penalty
    chosen: Mapping[str, float]
    kept: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Orders:
    """What a part wants done in this step."""

    press: tuple[Pressing, ...] = ()
    mask: bool = False
    cut: bool = False

    def __add__(self, other: Orders) -> Orders:
        return Orders(self.press + other.press, self.mask or other.mask, self.cut or other.cut)


State = dict[str, Any]
NOTHING = Orders()


@dataclass(frozen=True)
class Outcome:
    """The end of a part's step: what is to be done, and whether the part is over."""

    orders: Orders = field(default=NOTHING)
    over: bool = False
