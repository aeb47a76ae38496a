"""An optimizer that has seen nothing: what it looks like before its first step, to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from niwaki.ranks import local
from niwaki.surgery.optimizer import layers

SETTINGS = frozenset(
    {"params", "lr", "initial_lr", "max_lr", "min_lr", "weight_decay", "momentum", "base_momentum", "max_momentum"}
)
"""Entries of a group that a schedule or its user moves, and the optimizer does not."""


class Unseen:
    """What an optimizer keeps outside its state, such as the counters of schedule-free ones in their groups; and the
    constants that it fills its state with, where it has made it before its first step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        each = layers(optimizer)
        self._groups = [[_counters(group) for group in one.param_groups] for one in each]
        self._filled = [_constants(one) for one in each]

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors: a run that goes on may find an optimizer that has been loaded already."""
        return {"groups": [[dict(group) for group in one] for one in self._groups], "filled": self._filled}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave, if it is of as many optimizers."""
        if len(state["groups"]) == len(self._groups):
            self._groups, self._filled = state["groups"], state["filled"]

    @torch.no_grad()
    def bring_back(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimizer forget all that it has seen."""
        for one, groups, filled in zip(layers(optimizer), self._groups, self._filled, strict=True):
            for group, counters in zip(one.param_groups, groups, strict=False):
                group.update({key: _copy(value) for key, value in counters.items()})
            made = {p: _refilled(state, filled) for p, state in one.state.items()} if filled else {}
            one.state.clear()
            one.state.update(made)


def _counters(group: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a group that are no settings. (Switches are left: a schedule-free one must know that it trains.)"""
    found = {key: value for key, value in group.items() if key not in SETTINGS and _is_number(value)}
    return {key: _copy(value) for key, value in found.items()}


def _is_number(value: object) -> bool:
    if isinstance(value, Tensor):
        return not value.dim() and value.dtype != torch.bool
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _constants(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """By key, what the optimizer has filled its state with; nothing where it has none yet, or has made steps."""
    found: dict[str, float] = {}
    for state in optimizer.state.values():
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            return {}
        for key, value in state.items():
            mine = local(value)
            if not mine.numel():
                continue
            first = found.setdefault(key, float(mine.flatten()[0]))
            if first != first or bool((mine != first).any()) or (key == "step" and first):
                return {}
    return found if "step" in found else {}


def _refilled(state: Mapping[str, Tensor], filled: Mapping[str, float]) -> dict[str, Tensor]:
    """A state of today's shapes, which a cut may have made smaller."""
    return {key: torch.full_like(state[key], value) for key, value in filled.items() if key in state}


__all__ = ["Unseen"]
