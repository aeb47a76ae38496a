"""Units that are zero and stay so until they are cut: the model keeps its shapes, and trains on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn

from niwaki.surgery.masks import Held
from niwaki.train.states import states_of
from niwaki.units import Plan
from niwaki.wrappers import bare


class Masked:
    """All that is masked in a model now.

    Attributes:
        plan: what it would remove; None where nothing is masked.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.plan: Plan | None = None
        self._held: Held | None = None

    def join(self, plan: Plan) -> None:
        """This goes too."""
        self.put(plan if self.plan is None else _both(self.plan, plan))

    def put(self, plan: Plan | None) -> None:
        """Exactly this is masked."""
        self.plan, self._held = plan, None

    def hold(self) -> None:
        """What is masked is zero."""
        if held := self._look_up():
            held.hold()

    def still(self) -> None:
        """What is masked has no gradient, so that no copy of it in the optimizer moves either."""
        if held := self._look_up():
            parameters = dict(bare(self._model).named_parameters())
            held.clear({name: [p.grad] for name, p in parameters.items() if p.grad is not None})

    def forget(self, optimizer: torch.optim.Optimizer) -> None:
        """So is what the optimizer remembers of it."""
        if held := self._look_up():
            parameters = dict(bare(self._model).named_parameters())
            held.clear({name: [*states_of(optimizer, p)] for name, p in parameters.items()})

    def _look_up(self) -> Held | None:
        if self._held is None and self.plan is not None:
            self._held = Held(self._model, self.plan)
        return self._held

    def beside(self, chosen: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Units that are masked, by group, in the groups that are not ``chosen`` from now."""
        choices = {} if self.plan is None else self.plan.choices
        return {name: c.removed for name, c in choices.items() if c.removed and name not in chosen}


def _both(before: Plan, plan: Plan) -> Plan:
    """What either of two plans of one model removes."""
    removed = {axis: set(gone) for axis, gone in plan.removed.items()}
    for axis, gone in before.removed.items():
        removed[axis] = removed.get(axis, set()) | set(gone)
    choices = {
        name: replace(now, removed=tuple(sorted({*now.removed, *before.choices[name].removed})))
        for name, now in plan.choices.items()
    }
    return replace(plan, removed={axis: tuple(sorted(gone)) for axis, gone in removed.items()}, choices=choices)


__all__ = ["Masked"]
