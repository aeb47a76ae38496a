"""Penalties as gradients: added to what the loss (and the user's clipping) left in ``.grad``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.view import Chosen, Of, Pressing, Regularizing
from niwaki.penalties import Proximal, gradients
from niwaki.ranks import local, part
from niwaki.train.copies import Copies
from niwaki.units import Group, Member


@torch.no_grad()
def regularize(order: Regularizing, tensors: Mapping[str, Tensor]) -> None:
    """Add a penalty's gradients. A weight without a gradient (frozen, or unused in this step) is left alone."""
    moved = {name: tensors[name] for name in order.factors if tensors[name].grad is not None}
    for name in order.stacks & moved.keys():
        weight = moved.pop(name)
        assert weight.grad is not None
        for each, grad in zip(matrices(name, weight), local(weight.grad), strict=True):
            grad.add_(order.penalty.gradient(each), alpha=order.factors[name])
    for name, gradient in gradients(order.penalty, moved):
        grad = moved[name].grad
        assert grad is not None
        local(grad).add_(gradient, alpha=order.factors[name])


@torch.no_grad()
def shrink_(
    order: Regularizing, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, copies: Copies
) -> None:
    """Take a penalty's proximal step, of the learning rate times the factor, where the optimizer moves a weight; and in
    the copies of it that the optimizer would write it from."""
    assert isinstance(order.penalty, Proximal)
    rates = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    moved = {n: tensors[n] for n in order.factors if tensors[n].grad is not None and id(tensors[n]) in rates}
    beside = copies.of(optimizer, moved.values())
    for name, weight in moved.items():
        for held in (weight, *beside.get(id(weight), ())):
            for each in matrices(name, held) if name in order.stacks else (held,):
                order.penalty.shrink_(each, order.factors[name] * rates[id(weight)])


def matrices(name: str, weight: Tensor) -> Tensor:
    """Of a stack the matrices that this rank holds, along dimension 0.

    Raises:
        BadInput: it holds parts of matrices.
    """
    mine = local(weight)
    if mine.shape[1:] != weight.shape[1:]:
        raise BadInput(
            f"{name!r} holds matrices along dimension 0 and is sharded along another, so that no rank has a whole one: "
            "shard it along dimension 0"
        )
    return mine


@dataclass(frozen=True, eq=False)
class Target:
    """A weight; true where a slice (an entry) is chosen; and where it may be pressed at all. They broadcast, against
    this rank's part of a weight that is sharded."""

    weight: Tensor
    chosen: Tensor
    inside: Tensor

    def add(self, gradient: Tensor, on_chosen: float, on_kept: float) -> None:
        """Add to the weight's gradient: the penalty's, times the factor of each slice (entry)."""
        assert self.weight.grad is not None
        mine, gradient = local(self.weight.grad), local(gradient)
        # Marks, not factors: of single weights, every number here is as large as the tensor.
        if on_chosen:
            mine.addcmul_(gradient, self.chosen, value=on_chosen)
        if on_kept:
            mine.addcmul_(gradient, self.inside & ~self.chosen, value=on_kept)


class Pressure:
    """Adds ``factor × penalty gradient`` to the makers of units, or to single weights. Masks are built once per
    choice."""

    def __init__(self, groups: Mapping[str, Group], chosen: Chosen, tensors: Mapping[str, Tensor]):
        self._groups, self._chosen, self._tensors = groups, chosen, tensors
        self._targets: dict[tuple[Of, str], list[Target]] = {}

    @torch.no_grad()
    def add(self, pressing: Pressing) -> None:
        """Add to the gradients. A weight without a gradient (frozen, or unused in this step) is left alone."""
        for name in {**pressing.chosen, **pressing.kept}:
            on_chosen, on_kept = pressing.chosen.get(name, 0.0), pressing.kept.get(name, 0.0)
            for target in self._of(pressing.of, name) if on_chosen or on_kept else ():
                if target.weight.grad is not None:
                    target.add(pressing.penalty.gradient(target.weight), on_chosen, on_kept)

    def _of(self, of: Of, name: str) -> list[Target]:
        if (of, name) not in self._targets:
            chosen = self._chosen.get(name, ())
            if of == "weights":
                found = [_single(self._tensors[name], chosen)]
            else:
                assert not isinstance(chosen, Tensor)
                group = self._groups[name]
                found = [_slices(group, member, chosen, self._tensors) for member in group.makers]
            self._targets[of, name] = found
        return self._targets[of, name]


def _single(weight: Tensor, chosen: tuple[int, ...] | Tensor) -> Target:
    every = torch.ones(1, dtype=torch.bool, device=local(weight).device)
    return Target(weight, local(chosen).to(every.device) if isinstance(chosen, Tensor) else ~every, every)


def _slices(group: Group, member: Member, units: tuple[int, ...], tensors: Mapping[str, Tensor]) -> Target:
    weight, entries = tensors[member.name], group.entries[member.axis]
    shape = [-1 if d == member.dim else 1 for d in range(weight.dim())]
    device = local(weight).device

    def marks(positions: np.ndarray) -> Tensor:
        found = torch.zeros(weight.shape[member.dim], dtype=torch.bool, device=device)
        found[torch.as_tensor(positions, device=device)] = True
        return part(found.reshape(shape), weight)

    return Target(weight, marks(entries.of(np.array(units, dtype=np.int64))), marks(np.unique(entries.positions)))
