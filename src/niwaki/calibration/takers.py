"""The layers that take a group's units, and which units stand at which positions of their input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from niwaki.errors import BadInput
from niwaki.units import Group, Member

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, eq=False)
class Taker:
    """A layer that takes units. ``unit_of``: the unit at each position of its input's feature dimension, -1 for none
    of this group (int64, on the CPU). ``tied``: its weight makes the units too, under another name (an embedding)."""

    path: str
    module: nn.Module
    weight: str
    unit_of: Tensor
    tied: bool = False

    @property
    def space(self) -> int:
        """Dimensions behind the features: 0 where the features are last."""
        return self.module.weight.dim() - 2 if isinstance(self.module, CONVOLUTIONS + TRANSPOSED) else 0

    def require_samples(self, hidden: Tensor, batch: int) -> None:
        """Raise :class:`BadInput` where a batch was one sample that stands alone: its features would pass for samples.
        (Convolutions tell by themselves.)"""
        if not self.space and hidden.dim() < 2:
            raise BadInput(
                f"on batch {batch} of data (the first is 0) layer {self.path!r} was called with a tensor of shape "
                f"{list(hidden.shape)}, which has features and no dimension of samples: put samples together, "
                "torch.stack(samples), or give each a dimension, sample[None]; and inputs likewise"
            )

    def per_position(self, values: Tensor) -> Tensor:
        """Sum over all but the feature dimension. Shape: (positions,)."""
        return values.movedim(-1 - self.space, -1).flatten(0, -2).sum(0)

    def per_unit(self, positions: Tensor, units: int) -> Tensor:
        """Sum over the positions of each unit. Shape: (units,), float64 on the CPU."""
        found, inside = torch.zeros(units, dtype=torch.float64), self.unit_of >= 0
        return found.index_add_(0, self.unit_of[inside], positions.detach().cpu().double()[inside])

    def spread(self, per_unit: Tensor, elsewhere: float) -> Tensor:
        """One number per position from one per unit; ``elsewhere`` for positions of no unit of the group."""
        values = per_unit.double()[self.unit_of.clamp(min=0)]
        return values.masked_fill(self.unit_of < 0, elsewhere)

    def along(self, per_position: Tensor, like: Tensor) -> Tensor:
        """Shaped to multiply inputs such as ``like``."""
        return per_position.to(like.device, like.dtype).reshape(-1, *[1] * self.space)

    def apply(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output for a hidden input, with these weights."""
        module: Any = self.module
        if isinstance(module, nn.Linear):
            return F.linear(hidden, weight, bias)
        if isinstance(module, CONVOLUTIONS):
            return module._conv_forward(hidden, weight, bias)
        if isinstance(module, TRANSPOSED):
            function: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.space - 1]
            settings = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
            return function(hidden, weight, bias, *settings)
        return hidden @ weight if bias is None else hidden @ weight + bias  # transformers' Conv1D


class Unfit(BadInput):
    """A group whose hidden activations cannot be had."""


def takers_of(group: Group, modules: Mapping[str, nn.Module], aliases: Mapping[str, str]) -> list[Taker]:
    """The layers that take the units of ``group``.

    Args:
        modules: the model's, by path. aliases: other names of shared tensors.

    Raises:
        Unfit: a unit is taken by something that is no layer of its own, or not taken at all.
    """
    takers = layers_that_take(group, modules, aliases)
    if not takers:
        raise Unfit(f"no layer takes the units of group {group.name!r}")
    check_all_taken(group, takers)
    return takers


def check_all_taken(group: Group, takers: Sequence[Taker]) -> None:
    """Raise :class:`Unfit` if a unit is taken by none of these layers."""
    seen = torch.zeros(len(group), dtype=torch.bool)
    for taker in takers:
        seen[taker.unit_of[taker.unit_of >= 0]] = True
    if not seen.all():
        raise Unfit(
            f"some units of group {group.name!r} ({group.kind}) are at no input of a layer that takes the group"
        )


def layers_that_take(group: Group, modules: Mapping[str, nn.Module], aliases: Mapping[str, str]) -> list[Taker]:
    """As :func:`takers_of`, though some units may be taken by none of them. A head whose weight is that of the
    embedding takes them last: the tensor is known by what it makes.

    Raises:
        Unfit: a unit is taken by something that is no layer of its own.
    """
    members = [m for m in group.members if m.role == "takes" and not _is_power_vector(m.name, modules)]
    found = [_taker(group, member, name, modules) for member in members for name in _names(member, aliases)]
    found += [
        replace(_taker(group, member, name, modules), tied=True)
        for member in group.makers
        for name in _names(member, aliases)
        if member.name in aliases.values() and _takes(modules.get(owner(name)), member.dim)
    ]
    return list({id(taker.module): taker for taker in reversed(found)}.values())[::-1]  # a module of two names: once


def owner(name: str) -> str:
    """The path of the module that uses a tensor, also where the weight is computed from it."""
    return name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]


def _is_power_vector(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Is it the estimate of a singular vector that spectral norm keeps beside a weight? It goes with that weight."""
    path, _, own = name.rpartition(".")
    holder = modules.get(path)
    if isinstance(holder, _SpectralNorm):
        return own in ("_u", "_v")
    hooks = () if holder is None else holder._forward_pre_hooks.values()
    return any(isinstance(hook, SpectralNorm) and own in (f"{hook.name}_u", f"{hook.name}_v") for hook in hooks)


def _names(member: Member, aliases: Mapping[str, str]) -> Iterable[str]:
    return [member.name, *(other for other, name in aliases.items() if name == member.name)]


def _taker(group: Group, member: Member, name: str, modules: Mapping[str, nn.Module]) -> Taker:
    path = owner(name)
    module = modules.get(path)
    groups = int(getattr(module, "groups", 1))
    if module is None or not _takes(module, member.dim):
        what = "nothing" if module is None else type(module).__name__
        raise Unfit(
            f"group {group.name!r} is taken by {member.axis}, a parameter of {what}: the layers that can be looked at "
            "are nn.Linear, convolutions and the Conv1D of transformers, each called by itself"
        )
    entries = group.entries[member.axis]
    layer: Any = module
    width = int(layer.weight.shape[member.dim])
    if len(set(entries.positions.tolist())) < entries.positions.size:
        raise Unfit(f"units of group {group.name!r} ({group.kind}) overlap at the input of {path!r}")
    unit_of = torch.full((width,), -1, dtype=torch.int64)
    unit_of[torch.as_tensor(entries.positions)] = torch.as_tensor(entries.units)
    if isinstance(module, CONVOLUTIONS):
        unit_of = unit_of.repeat(groups)  # a grouped convolution takes the same slice in each of its groups
    return Taker(path, module, name, unit_of)


def _takes(module: nn.Module | None, dim: int) -> bool:
    """Is this dimension of the module's weight that of its input?"""
    if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
        return dim == 1
    return dim == 0 and (isinstance(module, TRANSPOSED) or type(module).__name__ == "Conv1D")


__all__ = ["Taker", "Unfit", "check_all_taken", "layers_that_take", "owner", "takers_of"]
