"""Choosing units block by block by what they do on data, each block after those in front of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.parts import Part, at_least
from niwaki.methods.selectors import Pursuit, See, Selector
from niwaki.methods.view import NOTHING, Activity, Orders, Outcome, Place, Sampling, State, View, check_switch
from niwaki.schedules import above_zero
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class Recover(Part):
    """Go through the groups in forward order: choose what stays, mask the rest, go on.

    What a group does is looked at when those in front of it are masked. ``compensate``: write the layers that take the
    units by least squares, with a ``ridge`` that is a share of the mean second moment (those that are no matrix stay as
    they are). ``reestimate``: measure the batch norms again when all is masked. ``tune``: train so many steps after
    each group that loses units, with the masks held.
    """

    selector: Selector = field(default_factory=Pursuit)
    target: Target = field(default_factory=Ratio)
    sampling: Sampling = field(default_factory=Sampling)
    compensate: bool = False
    ridge: float = 1e-6
    reestimate: bool = False
    tune: int = 0
    needs: ClassVar[frozenset[str]] = frozenset(("data",))

    def __post_init__(self) -> None:
        for name, kind in (("selector", Selector), ("target", Target), ("sampling", Sampling)):
            if not isinstance(getattr(self, name), kind):
                raise BadInput(f"{name} must be a {kind.__name__}, not {getattr(self, name)!r}")
        check_switch(self.compensate, "compensate")
        check_switch(self.reestimate, "reestimate")
        above_zero(self.ridge, "ridge")
        at_least(self.tune, 0, "tune")

    @property
    def outputs(self) -> bool:
        """Does it ask what the layers that take the units give?"""
        return self.compensate or self.selector.outputs

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.tune > 0

    def begin(self, view: View) -> State:
        view.look_anew()  # parts before may have changed the front
        # What parts before have chosen stays chosen, until a cut.
        return {"index": 0, "left": 0, "gone": {name: list(units) for name, units in view.chosen.items()}}

    def step(self, state: State, view: View) -> Outcome:
        places = view.places(self.target, self.sampling, outputs=self.outputs)
        if not places:
            return Outcome(over=True)
        if state["left"]:  # of the steps of training after the last choice
            state["left"] -= 1
            return self._ended(Orders(), state, places)
        orders, goes = self._pass(state, view, places), False
        if state["index"] < len(places):
            orders += self._choose(state, view, places[state["index"]])
            state["index"], goes = state["index"] + 1, True
            orders += self._pass(state, view, places)
        if self.tune and goes:
            state["left"] = self.tune
            return Outcome(orders, again=True)
        return self._ended(orders, state, places)

    def _pass(self, state: State, view: View, places: list[Place]) -> Orders:
        """Go past groups that lose nothing: there is nothing to look at, and nothing to train for."""
        orders = NOTHING
        while state["index"] < len(places) and places[state["index"]].whole:
            orders += self._choose(state, view, places[state["index"]])
            state["index"] += 1
        return orders

    def _ended(self, orders: Orders, state: State, places: list[Place]) -> Outcome:
        over = state["index"] == len(places) and not state["left"]
        if over and self.reestimate:
            orders += Orders(reestimate=self.sampling)
        return Outcome(orders, over=over, again=not over and not self.tune)

    def _choose(self, state: State, view: View, place: Place) -> Orders:
        """What goes of one group, and what becomes of the layers that take it."""
        known: list[Activity] = []
        moments = place.matrix and (self.compensate or self.selector.moments)

        def see() -> Activity:
            if self.sampling.fresh or not known:
                known[:] = [view.activity(place.name, self.sampling, moments=moments)]
            return known[0]

        stays = torch.arange(len(place)) if place.whole else self.selector.choose(see, place, fresh=self.sampling.fresh)
        kept = torch.zeros(len(place), dtype=torch.bool)
        kept[stays] = True
        gone = tuple((~kept).nonzero().flatten().tolist())
        state["gone"][place.name] = list(gone)
        view.chosen = {name: tuple(units) for name, units in state["gone"].items()}
        view.note(event="choose", chosen={place.name: list(gone)})
        write = () if place.whole else self._written(see, kept, fits=self.compensate and place.matrix)
        return Orders(mask=({place.name: gone},), write=write)

    def _written(self, see: See, kept: Tensor, *, fits: bool) -> tuple[dict[str, Tensor], ...]:
        factor = self.selector.factor(len(kept), int(kept.sum()))
        if fits:
            return (dict(see().compensation(kept, self.ridge)),)
        return (dict(see().scaled(kept, factor)),) if factor != 1.0 else ()


__all__ = ["Recover"]
