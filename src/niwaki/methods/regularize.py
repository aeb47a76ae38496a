"""A penalty on all weights, beside whatever else a method does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from niwaki.errors import BadInput
from niwaki.methods.parts import Part
from niwaki.methods.view import Of, Orders, Outcome, Regularizing, State, View, check_switch
from niwaki.penalties import Penalty, Proximal, RowColumn
from niwaki.schedules import not_below_zero
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class Regularize(Part):
    """Press all weights that a target may take from with a penalty of a constant factor, for as long as the parts
    beside it last; also where it takes nothing (a share of 0).

    ``proximal``: in place of a gradient, which goes through the optimizer's moments, take the penalty's proximal step
    after each step of the optimizer, by the learning rate times the factor.
    """

    penalty: Penalty = field(default_factory=RowColumn)
    factor: float = 1e-4
    target: Target = field(default_factory=Ratio)
    proximal: bool = False
    of: ClassVar[Of] = "weights"
    takes_time: ClassVar[bool] = True
    aside: ClassVar[bool] = True

    def __post_init__(self) -> None:
        not_below_zero(self.factor, "factor")
        check_switch(self.proximal, "proximal")
        if not isinstance(self.penalty, Penalty):
            raise BadInput(f"a penalty is a value such as nk.penalties.RowColumn(), not {self.penalty!r}")
        if self.proximal and not isinstance(self.penalty, Proximal):
            raise BadInput(f"{type(self.penalty).__name__} has no proximal step: set proximal=False, or take RowColumn")

    def begin(self, view: View) -> State:
        names = self.names(view)
        return {"names": names, "stacks": view.stacks(names)}

    def names(self, view: View) -> list[str]:
        """The weights that it presses: those that the target may take from; all that its patterns pick where it takes
        nothing at all, as at the start of a sweep."""
        target = self.target
        if isinstance(target, Ratio) and not target.most:
            target = target.on_the_way(lambda share: 0.5)
        return view.offered(target, self.of)

    def step(self, state: State, view: View) -> Outcome:
        if "stacks" not in state:  # a run state from before there were any
            state["stacks"] = view.stacks(state["names"])
        if not self.factor:
            return Outcome()
        factors = dict.fromkeys(state["names"], self.factor)
        order = Regularizing(self.penalty, factors, self.proximal, frozenset(state["stacks"]))
        return Outcome(Orders(regularize=(order,)))


__all__ = ["Regularize"]
