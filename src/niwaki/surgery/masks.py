"""Zero in place of removal: the dense-shaped twin that a cut model must equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.weight_norm import WeightNorm

from niwaki.graph.copies import duplicate
from niwaki.ranks import is_sharded, local, numbers
from niwaki.surgery.cut import check_plan
from niwaki.units import Axis, Plan
from niwaki.wrappers import bare, unwrapped

Model = TypeVar("Model", bound=nn.Module)


def mask(model: Model, plan: Plan) -> Model:
    """A copy of ``model`` with every removed entry set to zero, in every tensor of every member. (Only the directions
    of weight norm are set to one: of length zero, they are divided by their norm.)

    Raises:
        StalePlan: the plan was made for another model.
    """
    model = unwrapped(model, "the masked copy")
    check_plan(model, plan)
    masked = duplicate(model)
    mask_(masked, plan)
    return masked


def mask_(model: nn.Module, plan: Plan) -> None:
    """Zero the removed entries of ``model`` in place."""
    Held(model, plan).hold()


class Held:
    """What a plan removes, kept zero in a model that trains on. Where everything lies is looked up once.

    Attributes:
        plan: of this model.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.plan, self._model = plan, bare(model)
        self._directions = _directions(self._model)
        self._indices: dict[tuple[Axis, torch.device, torch.Size], Tensor] = {}

    @torch.no_grad()
    def hold(self) -> None:
        """Zero the removed entries in place."""
        tensors = dict([*self._model.named_parameters(), *self._model.named_buffers()])
        for axis in self._order:
            t, value = tensors[axis.name], int(axis in self._directions)
            local(t).index_fill_(axis.dim, self._index_of(axis, t), value)

    @torch.no_grad()
    def clear(self, beside: Mapping[str, Iterable[Tensor]]) -> None:
        """Zero the removed entries in tensors of the same shapes that lie beside those of the model, by its names."""
        for axis in self.plan.removed:
            for t in beside.get(axis.name, ()):
                local(t).index_fill_(axis.dim, self._index_of(axis, t), 0)

    @cached_property
    def _order(self) -> list[Axis]:
        return sorted(self.plan.removed, key=lambda axis: axis not in self._directions)  # zeros have the last word

    def _index_of(self, axis: Axis, t: Tensor) -> Tensor:
        key = (axis, local(t).device, local(t).shape)  # of a shard other ones than of the whole
        if key not in self._indices:
            indices = _index(local(t), self.plan.removed[axis])
            if is_sharded(t):
                indices = torch.isin(numbers(t, axis.dim), indices).nonzero().flatten()
            self._indices[key] = indices
        return self._indices[key]


def expand(dense: Model, plan: Plan, small: nn.Module) -> Model:
    """A copy of ``dense`` that holds ``small``'s weights where they came from and zeros elsewhere: the masked twin of a
    cut model, also after it was trained further."""
    dense, small = bare(dense), bare(small)
    twin = duplicate(dense)
    source = dict([*small.named_parameters(), *small.named_buffers()])
    with torch.no_grad():
        for name, t in [*twin.named_parameters(), *twin.named_buffers()]:
            t.copy_(_scatter(source[name].detach().to(t.device, t.dtype), name, tuple(t.shape), plan))
    mask_(twin, plan)
    return twin


def _directions(model: nn.Module) -> set[Axis]:
    """The axes of ``v`` along which weight norm takes a norm each, both as a parametrization and as a hook."""
    found = set()
    for path, module in model.named_modules():
        if isinstance(module, ParametrizationList) and isinstance(module[0], _WeightNorm):
            found.add(Axis(f"{path}.original1", module[0].dim))
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                found.add(Axis(f"{path}.{hook.name}_v".lstrip("."), hook.dim))
    return found


def _scatter(value: Tensor, name: str, shape: tuple[int, ...], plan: Plan) -> Tensor:
    """``value`` spread over a zero tensor of the dense shape."""
    for axis in plan.removed:
        if axis.name == name:
            wide = value.new_zeros([*value.shape[: axis.dim], shape[axis.dim], *value.shape[axis.dim + 1 :]])
            wide.index_copy_(axis.dim, torch.tensor(plan.kept(axis), device=value.device), value)
            value = wide
    return value


def _index(t: Tensor, indices: tuple[int, ...]) -> Tensor:
    return torch.tensor(indices, dtype=torch.int64, device=t.device)
