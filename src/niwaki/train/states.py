"""What an optimizer remembers of weights that are masked. Most forget it by themselves; one that keeps another copy of
the weights (averaged ones, weights of finer type) would bring them back from there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from niwaki.ranks import is_sharded, local, shares
from niwaki.surgery.optimizer import layers, strange_keys


def states_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> Iterator[Tensor]:
    """The tensors with a number for each entry of a parameter (of this rank's part of it). Of packed types nobody here
    knows what is zero; and a preconditioner may have the weight's shape by chance."""
    for _, state in named_states(optimizer, parameter):
        yield state


def named_states(optimizer: torch.optim.Optimizer, parameter: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same, by the optimizer's keys."""
    for each in layers(optimizer):
        state = each.state.get(parameter)
        if not isinstance(state, Mapping) or not state:
            continue
        strange = strange_keys(each)
        for key, value in state.items():
            if key not in strange and _is_plain(value) and local(value).shape == local(parameter).shape:
                yield key, value


def _is_plain(value: object) -> bool:
    plain = type(value) in (Tensor, nn.Parameter) or (isinstance(value, Tensor) and is_sharded(value))
    return plain and isinstance(value, Tensor) and value.is_floating_point()


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
        if self.keys == []:
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


__all__ = ["Copies", "named_states", "states_of"]
