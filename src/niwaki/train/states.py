"""What an optimizer remembers of weights that are masked. Most forget it by themselves; one that keeps another copy of
the weights (averaged ones, weights of finer type) would bring them back from there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from niwaki.ranks import is_sharded
from niwaki.surgery.optimizer import layers


def states_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> Iterator[Tensor]:
    """The tensors with a number for each entry of a parameter. (Of packed types nobody here knows what is zero.)"""
    for each in layers(optimizer):
        if parameter not in each.state:
            continue
        for value in each.state[parameter].values():
            plain = type(value) is Tensor or (isinstance(value, Tensor) and is_sharded(value))
            if plain and value.is_floating_point() and value.shape == parameter.shape:
                yield value


__all__ = ["states_of"]
