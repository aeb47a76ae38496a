"""More and more zeros while the network trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from niwaki.errors import BadInput
from niwaki.methods.parts import Choose, Mask, Part, at_least
from niwaki.methods.view import Of, Outcome, State, View
from niwaki.schedules import cubic
from niwaki.targets import Ratio


@dataclass(frozen=True)
class Gradually(Part):
    """Choose and mask again and again, from a ``first`` share up to that of the choice's target along a cubic (Zhu and
    Gupta 2017, Eq. 1): after the first step, after every ``every``-th, and at last after the last one."""

    choose: Choose
    steps: int
    every: int = 1
    first: float = 0.0
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(self.steps, 1, "steps")
        at_least(self.every, 1, "every")
        if not isinstance(self.choose.target, Ratio) or self.choose.of != "weights":
            raise BadInput("zeros grow in number by share: choose single weights, by nk.Ratio")
        if not isinstance(self.first, (int, float)) or not 0 <= self.first < 1:
            raise BadInput(f"first is the share that goes at once, from 0 up to, not including, 1, not {self.first!r}")
        if self.first > (most := self.choose.target.most) > 0:
            raise BadInput(f"first={self.first:g} would take more at once than the target in the end, {most:g}")

    @property
    def of(self) -> Of:
        return self.choose.of

    @property
    def longest(self) -> int:
        return self.steps

    @property
    def updates(self) -> int:
        return self.steps // self.every + 1

    def walk(self) -> Iterator[Part]:
        yield self
        yield from self.choose.walk()

    def begin(self, view: View) -> State:
        return {"step": 0}

    def step(self, state: State, view: View) -> Outcome:
        state["step"] += 1
        return Outcome()

    def settle(self, state: State, view: View) -> Outcome:
        done = state["step"]
        over = done >= self.steps
        if not over and (done - 1) % self.every:
            return Outcome()
        self.at(done).step({}, view)
        return Outcome(Mask().step({}, view).orders, over=over)

    def at(self, done: int) -> Choose:
        """The choice after so many steps."""
        progress = 1.0 if done >= self.steps else (done - 1) / (self.steps - 1)
        assert isinstance(self.choose.target, Ratio)
        share = self.choose.target.on_the_way(lambda goal: cubic(goal, min(self.first, goal), progress))
        return replace(self.choose, target=share)


__all__ = ["Gradually"]
