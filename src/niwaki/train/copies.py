"""Copies of the weights from which an optimizer writes them: what is changed in place must be changed there too."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from niwaki.ranks import local, shares
from niwaki.train.states import named_states


class Copies:
    """The keys under which an optimizer keeps another copy of the weights, from which it writes them: weights of finer
    type, or the iterate behind an average. It is known by its numbers: right after the first step they are the weights'
    own.

    Attributes:
        keys: None until a step was made.
    """

    def __init__(self) -> None:
        self.keys: list[str] | None = None

    @torch.no_grad()
    def of(self, optimizer: torch.optim.Optimizer, weights: Iterable[Tensor]) -> dict[int, list[Tensor]]:
        """By the identity of each weight, its copies; call it after a step, and before the weights are changed."""
        weights = list(weights)
        if self.keys == [] or not weights:
            return {}
        found = {id(weight): list(named_states(optimizer, weight)) for weight in weights}
        if self.keys is None:
            self.keys = sorted({key for weight in weights for key, state in found[id(weight)] if _alike(state, weight)})
        return {at: [state for key, state in states if key in self.keys] for at, states in found.items()}


def _alike(state: Tensor, weight: Tensor) -> bool:
    """To the rounding of the coarser of two types. All ranks that hold parts say so, but for those that hold nothing
    to tell it by."""
    mine, ours = local(state), local(weight)
    coarse = max(torch.finfo(mine.dtype).eps, torch.finfo(ours.dtype).eps)
    near = torch.isclose(mine.to(ours.device, torch.float32), ours.float(), rtol=4 * coarse, atol=1e-6).all()
    there = ours.any()
    yes, no = shares(weight, "max")(torch.stack([there & near, there & ~near]).long()).tolist()
    return bool(yes) and not no


__all__ = ["Copies"]
