"""What an optimizer remembers of weights that are masked. Most forget it by themselves; one that keeps another copy of
the weights (averaged ones, weights of finer type) would bring them back from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from niwaki.ranks import is_sharded, local
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


__all__ = ["named_states", "states_of"]
