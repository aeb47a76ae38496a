"""Penalties as gradients: added to what the loss (and the user's clipping) left in ``.grad``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from niwaki.penalties import Penalty
from niwaki.units import Group, Member


class Pressure:
    """Adds ``factor × penalty gradient`` to the makers of the chosen units. Masks are built once per choice."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        chosen: Mapping[str, tuple[int, ...]],
        tensors: Mapping[str, Tensor],
    ):
        self._targets = {
            name: [_target(groups[name], member, units, tensors) for member in groups[name].makers]
            for name, units in chosen.items()
            if units
        }

    @torch.no_grad()
    def add(self, penalty: Penalty, factors: Mapping[str, float]) -> None:
        """Add to the gradients. A maker without a gradient (frozen, or unused in this step) is left alone."""
        for name, factor in factors.items():
            for weight, chosen in self._targets.get(name, ()):
                if weight.grad is not None and factor:
                    weight.grad.addcmul_(penalty.gradient(weight), chosen, value=factor)


def _target(
    group: Group, member: Member, units: tuple[int, ...], tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """A maker's weight, and 1 where a slice belongs to a chosen unit, shaped to broadcast against it."""
    weight = tensors[member.name]
    positions = group.entries[member.axis].of(np.array(units, dtype=np.int64))
    shape = [-1 if d == member.dim else 1 for d in range(weight.dim())]
    chosen = torch.zeros(weight.shape[member.dim], dtype=weight.dtype, device=weight.device)
    chosen[torch.as_tensor(positions, device=weight.device)] = 1
    return weight, chosen.reshape(shape)
