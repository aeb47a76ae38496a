"""The parts that methods are made of. Each is a frozen value; its state is a plain dict that survives a checkpoint.

A part takes time (``press``, ``hold``, ``wait``: one step of the optimizer at a time) or none (``choose``, ``mask``,
``cut``). ``step`` is asked once per optimizer step, before it; a part that takes no time is over at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.view import NOTHING, Chosen, Of, Orders, Outcome, Pressing, State, View, check_of
from niwaki.penalties import Penalty, Ridge
from niwaki.scores import L1, Score
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class Part:
    """Base of all parts. ``needs``: what must be at hand beside the model, of ``"data"`` and ``"loss"``."""

    takes_time: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def begin(self, view: View) -> State:
        """The state at the start of the part."""
        return {}

    def step(self, state: State, view: View) -> Outcome:
        """Update ``state`` in place and say what is to be done in this step."""
        raise NotImplementedError

    def walk(self) -> Iterator[Part]:
        """This part and all parts inside it."""
        yield self


@dataclass(frozen=True)
class Choose(Part):
    """Score everything now and choose what must go to reach the target."""

    score: Score = field(default_factory=L1)
    target: Target = field(default_factory=Ratio)
    of: Of = "units"

    def __post_init__(self) -> None:
        check_of(self.of)
        if self.of == "weights" and not isinstance(self.target, Ratio):
            raise BadInput(f"single weights are counted: their target is nk.Ratio, not {self.target!r}")
        if not isinstance(self.target, Target):
            raise BadInput(f"a target is nk.Ratio, nk.Macs or nk.Params of a share, not {self.target!r}")
        if not callable(self.score):
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
        return {"weights": {name: int(torch.as_tensor(c).sum()) for name, c in chosen.items()}}
    return {"chosen": {name: list(units) for name, units in chosen.items()}}


@dataclass(frozen=True)
class Mask(Part):
    """Zero what is chosen now, and keep it zero."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(mask=(view.chosen,)), over=True)


@dataclass(frozen=True)
class Cut(Part):
    """Remove the chosen units, really."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(cut=True), over=True)


@dataclass(frozen=True)
class Wait(Part):
    """Train on for so many steps."""

    steps: int
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(self.steps, 1, "steps")

    def begin(self, view: View) -> State:
        return {"step": 0}

    def step(self, state: State, view: View) -> Outcome:
        state["step"] += 1
        return Outcome(over=state["step"] >= self.steps)


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


@dataclass(frozen=True)
class _Several(Part):
    """A part made of parts."""

    parts: tuple[Part, ...]

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return any(p.takes_time for p in self.parts)

    def walk(self) -> Iterator[Part]:
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Sequence(_Several):
    """One part after another."""

    def begin(self, view: View) -> State:
        return {"index": 0, "inner": None}

    def step(self, state: State, view: View) -> Outcome:
        """Run parts that take no time until one does; that one gets this step."""
        orders = NOTHING
        while state["index"] < len(self.parts):
            part = self.parts[state["index"]]
            if state["inner"] is None:
                state["inner"] = part.begin(view)
            outcome = part.step(state["inner"], view)
            orders += outcome.orders
            if outcome.again:
                return Outcome(orders, again=True)
            if outcome.over:
                state["index"], state["inner"] = state["index"] + 1, None
            if not outcome.over or part.takes_time or orders.cut:
                break
        return Outcome(orders, over=state["index"] >= len(self.parts))


@dataclass(frozen=True)
class Together(_Several):
    """Several parts side by side, until all are over."""

    def begin(self, view: View) -> State:
        return {"inner": [p.begin(view) for p in self.parts], "over": [False] * len(self.parts), "at": 0}

    def step(self, state: State, view: View) -> Outcome:
        """``at``: the part that wants to be asked again in this step; those before it have had theirs."""
        orders = NOTHING
        for k, part in enumerate(self.parts):
            if k >= state["at"] and not state["over"][k]:
                outcome = part.step(state["inner"][k], view)
                orders += outcome.orders
                if outcome.again:
                    state["at"] = k
                    return Outcome(orders, again=True)
                state["over"][k] = outcome.over
        state["at"] = 0
        return Outcome(orders, over=all(state["over"]))


def sequence(*parts: Part) -> Sequence:
    """One part after another."""
    return Sequence(tuple(parts))


def together(*parts: Part) -> Together:
    """Several parts side by side."""
    return Together(tuple(parts))


def at_least(value: object, least: int, what: str) -> None:
    """Raise :class:`BadInput` unless ``value`` is a whole number of at least ``least``."""
    if type(value) is not int or value < least:
        raise BadInput(f"{what} must be a whole number of at least {least}, not {value!r}")
