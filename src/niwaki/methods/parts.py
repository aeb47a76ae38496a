"""The parts that methods are made of. Each is a frozen value; its state is a plain dict that survives a checkpoint.

A part takes time (``press``, ``hold``, ``wait``: one step of the optimizer at a time) or none (``choose``, ``mask``,
``cut``). ``step`` is asked once per optimizer step, before it; a part that takes no time is over at once. ``settle`` is
asked after the step: what takes no time and comes next is done then, and not one gradient later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.view import Chosen, Of, Orders, Outcome, Pressing, State, View, check_of
from niwaki.penalties import Penalty, Ridge
from niwaki.ranks import whole
from niwaki.scores import L1, Score
from niwaki.targets import SINGLE, Ratio, Target


@dataclass(frozen=True)
class Part:
    """Base of all parts. ``needs``: what must be at hand beside the model, of ``"data"`` and ``"loss"``."""

    takes_time: ClassVar[bool] = False
    aside: ClassVar[bool] = False
    """Does it go on for as long as the parts beside it, and no longer?"""
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def longest(self) -> int | None:
        """The most steps that it can take; None if that cannot be told."""
        return None if self.takes_time else 0

    @property
    def updates(self) -> int:
        """How many rows it may write to the record at most, or one more."""
        return 0

    @property
    def rounds(self) -> tuple[int, ...]:
        """Steps of each stretch of training from one choice to the next, at most; none where that cannot be told."""
        return (self.longest,) if self.longest else ()

    def begin(self, view: View) -> State:
        """The state at the start of the part."""
        return {}

    def step(self, state: State, view: View) -> Outcome:
        """Update ``state`` in place and say what is to be done in this step."""
        raise NotImplementedError

    def settle(self, state: State, view: View) -> Outcome:
        """The same, of what is to be done right after a step. ``again``: ask once more when that has been done."""
        return Outcome()

    def walk(self) -> Iterator[Part]:
        """This part and all parts inside it."""
        yield self


def check_target(target: object) -> None:
    """Raise :class:`BadInput` unless it is a target."""
    if not isinstance(target, Target):
        raise BadInput(f"a target is nk.Ratio, nk.Macs or nk.Params of a share, not {target!r}")


@dataclass(frozen=True)
class Choose(Part):
    """Score everything now and choose what must go to reach the target. It takes the place of an earlier choice, of
    which only a mask is kept."""

    score: Score = field(default_factory=L1)
    target: Target = field(default_factory=Ratio)
    of: Of = "units"

    def __post_init__(self) -> None:
        check_of(self.of)
        check_target(self.target)
        if self.of == "weights" and not isinstance(self.target, SINGLE):
            raise BadInput(f"single weights are counted: their target is nk.Ratio or nk.NM, not {self.target!r}")
        if isinstance(self.score, type) or not callable(self.score):
            raise BadInput(f"a score is a value such as nk.scores.L1(), not {self.score!r}")
        if self.of == "weights" and self.target.round_to != 1:
            raise BadInput(
                f"single weights leave every width as it is: round_to={self.target.round_to} would do nothing; leave "
                "it out"
            )

    def step(self, state: State, view: View) -> Outcome:
        view.chosen = dict(view.select(view.worth(self.score, self.of), self.target, self.of))
        view.note(event="choose", **_told(view.chosen))
        return Outcome(over=True)


def _told(chosen: Chosen) -> dict[str, Any]:
    """For the record: which units, or how many single weights."""
    if any(isinstance(c, Tensor) for c in chosen.values()):
        return {"weights": {name: int(whole(torch.as_tensor(c).sum())) for name, c in chosen.items()}}
    return {"chosen": {name: list(units) for name, units in chosen.items()}}


@dataclass(frozen=True)
class Mask(Part):
    """Zero what is chosen now, and keep it zero."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(mask=(view.chosen,)), over=True)


@dataclass(frozen=True)
class Cut(Part):
    """Remove the chosen units, really; and of groups of which nothing is chosen now, those that are masked."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(cut=True), over=True)


def ending(of: Of) -> Part:
    """How what was chosen goes: units are cut, single weights become zeros."""
    return Mask() if of == "weights" else Cut()


@dataclass(frozen=True)
class Wait(Part):
    """Train on for so many steps."""

    steps: int
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(self.steps, 1, "steps")

    @property
    def longest(self) -> int:
        return self.steps

    def begin(self, view: View) -> State:
        return {"step": 0}

    def step(self, state: State, view: View) -> Outcome:
        state["step"] += 1
        return Outcome(over=state["step"] >= self.steps)


def wait(steps: int) -> Iterator[Wait]:
    """Train on for so many steps, if there are any."""
    if steps:
        yield Wait(steps)


@dataclass(frozen=True)
class Remember(Part):
    """Keep a copy of the model as it is now, for `Rewind`."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(remember=True), over=True)


@dataclass(frozen=True)
class Rewind(Part):
    """Go back to the copy, but for what is zero by now; and forget the optimizer's moments."""

    def step(self, state: State, view: View) -> Outcome:
        view.note(event="rewind")
        return Outcome(Orders(rewind=True), over=True)


@dataclass(frozen=True)
class Hold(Part):
    """Keep the pressure where it is for so many steps."""

    steps: int
    penalty: Penalty = field(default_factory=Ridge)
    of: Of = "units"

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.steps > 0

    def __post_init__(self) -> None:
        check_of(self.of)
        at_least(self.steps, 0, "steps of hold")

    @property
    def longest(self) -> int:
        return self.steps

    def begin(self, view: View) -> State:
        return {"step": 0, "chosen": dict(view.pressure), "kept": dict(view.kept_pressure)}

    def step(self, state: State, view: View) -> Outcome:
        if self.steps == 0:
            return Outcome(over=True)
        if state["step"] == 0:
            view.note(event="phase", phase="hold")
        state["step"] += 1
        view.pressure, view.kept_pressure = dict(state["chosen"]), dict(state["kept"])
        orders = Orders(press=(Pressing(self.penalty, view.pressure, view.kept_pressure, self.of),))
        return Outcome(orders, over=state["step"] >= self.steps)


def at_least(value: object, least: int, what: str) -> None:
    """Raise :class:`BadInput` unless ``value`` is a whole number of at least ``least``."""
    if type(value) is not int or value < least:
        raise BadInput(f"{what} must be a whole number of at least {least}, not {value!r}")
