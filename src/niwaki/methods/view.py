"""What a method may see, and what it may ask for. It never touches a model, an optimizer or a loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.penalties import Penalty
from niwaki.scores import Score
from niwaki.targets import Target

Of = Literal["units", "weights"]
"""What is pruned: units of the coupling graph, which can be cut; or single weights, which can only be zero."""
Chosen = Mapping[str, "tuple[int, ...] | Tensor"]
"""Units by group; or, of single weights, a bool tensor by tensor name, true where a weight goes."""


def check_of(of: object) -> None:
    """Raise :class:`BadInput` unless ``of`` says what is pruned."""
    if of not in get_args(Of):
        raise BadInput(f"of must be 'units' (filters, heads, neurons, …) or 'weights' (single ones), not {of!r}")


class View(Protocol):
    """The model, as a method sees it."""

    chosen: Chosen
    """What was chosen last."""
    pressure: dict[str, float]
    """Penalty factor now on the chosen units, by group."""
    kept_pressure: dict[str, float]
    """Penalty factor now on all the others; below 0, they are let grow."""

    @property
    def recording(self) -> bool:
        """Is this a step whose figures should be recorded?"""
        ...

    def worth(self, score: Score, of: Of = "units") -> Mapping[str, Tensor]:
        """The score of every unit, by group; or of every single weight, by tensor, in its shape."""
        ...

    def offered(self, target: Target, of: Of = "units") -> list[str]:
        """Names of the groups (tensors) of which a target may take units (single weights)."""
        ...

    def select(self, worth: Mapping[str, Tensor], target: Target, of: Of = "units") -> Chosen:
        """What must go to reach the target."""
        ...

    def note(self, **figures: Any) -> None:
        """Add a row to the run's record."""
        ...


@dataclass(frozen=True)
class Pressing:
    """A penalty in one step: its factor on what is chosen, and on what is kept, by group or tensor."""

    penalty: Penalty
    chosen: Mapping[str, float]
    kept: Mapping[str, float] = field(default_factory=dict)
    of: Of = "units"


@dataclass(frozen=True)
class Orders:
    """What a part wants done in this step. ``mask``: what is to be zero, as it was chosen when the part said so."""

    press: tuple[Pressing, ...] = ()
    mask: tuple[Chosen, ...] = ()
    cut: bool = False

    def __add__(self, other: Orders) -> Orders:
        return Orders(self.press + other.press, self.mask + other.mask, self.cut or other.cut)


State = dict[str, Any]
NOTHING = Orders()


@dataclass(frozen=True)
class Outcome:
    """The end of a part's step: what is to be done, and whether the part is over."""

    orders: Orders = field(default=NOTHING)
    over: bool = False
