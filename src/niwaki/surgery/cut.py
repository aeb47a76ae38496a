"""Remove what a plan removes, really: smaller tensors, and everything that must follow them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from niwaki.surgery import optimizer as follower
from niwaki.surgery.modules import follow
from niwaki.units import Axis, Plan

Model = TypeVar("Model", bound=nn.Module)
ATTRIBUTE = "_niwaki_plan"


@dataclass(frozen=True)
class Receipt:
    """What a cut did. ``tensors``: name to (old shape, new shape), changed ones only. ``states``: optimizer tensors cut."""

    plan: Plan
    tensors: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    states: int = 0

    def __str__(self) -> str:
        before, after = (sum(_count(pair[k]) for pair in self.tensors.values()) for k in (0, 1))
        return f"cut {len(self.tensors)} tensors from {before:,} to {after:,} entries, {self.states} optimizer tensors with them"


def cut(model: Model, plan: Plan) -> Model:
    """A really smaller copy of ``model``; the model itself is untouched.

    Raises:
        StalePlan: the plan was made for another model.
    """
    plan.check(shapes_of(model))
    small = copy.deepcopy(model)
    cut_(small, plan)
    return small


def cut_(model: nn.Module, plan: Plan, optimizer: torch.optim.Optimizer | None = None) -> Receipt:
    """Cut ``model`` in place. Parameters keep their identity, so optimizers and hooks go on holding the live ones;
    the optimizer's state tensors are cut with them. Checked before anything is touched.

    Raises:
        StalePlan: the plan was made for another model.
        CannotFollow: the optimizer holds state that cannot be cut along.
    """
    plan.check(shapes_of(model))
    by_tensor = _by_tensor(plan.removed)
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    work = follower.prepare(optimizer, {id(tensors[n]): (n, dims) for n, dims in by_tensor.items()}) if optimizer else []
    before = {name: tuple(t.shape) for name, t in tensors.items()}
    for name, dims in by_tensor.items():
        _shrink(tensors[name], dims)
    for change in work:
        change()
    follow(model, plan.removed, before)
    attach(model, plan)
    changed = {name: (before[name], tuple(tensors[name].shape)) for name in by_tensor}
    return Receipt(plan, changed, len(work))


def plan_of(model: nn.Module) -> Plan | None:
    """The plan by which ``model`` was cut from its dense form; None if it never was."""
    return getattr(model, ATTRIBUTE, None)


def attach(model: nn.Module, plan: Plan) -> None:
    """Remember the plan on the model; a second cut is remembered as one plan from the dense model."""
    earlier = plan_of(model)
    object.__setattr__(model, ATTRIBUTE, plan if earlier is None else earlier.then(plan))


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters and buffers by name, under every name of shared ones."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tuple(t.shape) for name, t in named}


def select(t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Tensor:
    """``t`` without the given indices of the given dimensions, in the same memory format."""
    result = t
    for dim, gone in dims.items():
        lost = set(gone)
        kept = [i for i in range(t.shape[dim]) if i not in lost]
        result = result.index_select(dim, torch.tensor(kept, dtype=torch.int64, device=t.device))
    if t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous():
        return result.contiguous(memory_format=torch.channels_last)
    return result


def _shrink(t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> None:
    gradient = t.grad
    t.grad = None
    with torch.no_grad():
        t.data = select(t.detach(), dims)
    if gradient is not None:
        t.grad = select(gradient, dims)


def _by_tensor(removed: Mapping[Axis, tuple[int, ...]]) -> dict[str, dict[int, tuple[int, ...]]]:
    result: dict[str, dict[int, tuple[int, ...]]] = {}
    for axis, indices in removed.items():
        if indices:
            result.setdefault(axis.name, {})[axis.dim] = indices
    return result


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


__all__ = ["Receipt", "attach", "cut", "cut_", "plan_of", "select", "shapes_of"]
