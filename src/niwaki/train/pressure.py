"""Penalties as gradients: added to what the loss (and the user's clipping) left in ``.grad``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from niwaki.methods.view import Pressing
from niwaki.units import Group, Member


@dataclass(frozen=True, eq=False)
class Target:
    """A maker's weight, and 1 where a slice belongs to a chosen unit, or to a kept one; they broadcast against it."""

    weight: Tensor
    chosen: Tensor
    kept: Tensor

    def add(self, gradient: Tensor, on_chosen: float, on_kept: float) -> None:
        """Add to the weight's gradient: the penalty's, times the factor of each unit."""
        assert self.weight.grad is not None
        if on_kept == 0.0:
            self.weight.grad.addcmul_(gradient, self.chosen, value=on_chosen)
        else:
            self.weight.grad.addcmul_(gradient, self.chosen * on_chosen + self.kept * on_kept)


class Pressure:
    """Adds ``factor × penalty gradient`` to the makers of units. Masks are built once per choice."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        chosen: Mapping[str, tuple[int, ...]],
        tensors: Mapping[str, Tensor],
    ):
        self._groups, self._chosen, self._tensors = groups, chosen, tensors
        self._targets: dict[str, list[Target]] = {}

    @torch.no_grad()
    def add(self, pressing: Pressing) -> None:
        """Add to the gradients. A maker without a gradient (frozen, or unused in this step) is left alone."""
        for name in {**pressing.chosen, **pressing.kept}:
            on_chosen, on_kept = pressing.chosen.get(name, 0.0), pressing.kept.get(name, 0.0)
            for target in self._of(name) if on_chosen or on_kept else ():
                if target.weight.grad is not None:
                    target.add(pressing.penalty.gradient(target.weight), on_chosen, on_kept)

    def _of(self, name: str) -> list[Target]:
        if name not in self._targets:
            group, units = self._groups[name], self._chosen.get(name, ())
            self._targets[name] = [_target(group, member, units, self._tensors) for member in group.makers]
        return self._targets[name]


def _target(group: Group, member: Member, units: tuple[int, ...], tensors: Mapping[str, Tensor]) -> Target:
    weight, entries = tensors[member.name], group.entries[member.axis]
    shape = [-1 if d == member.dim else 1 for d in range(weight.dim())]

    def ones(positions: np.ndarray) -> Tensor:
        found = torch.zeros(weight.shape[member.dim], dtype=weight.dtype, device=weight.device)
        found[torch.as_tensor(positions, device=weight.device)] = 1
        return found.reshape(shape)

    others = np.setdiff1d(np.arange(len(group)), np.array(units, dtype=np.int64))
    return Target(weight, ones(entries.of(np.array(units, dtype=np.int64))), ones(entries.of(others)))
