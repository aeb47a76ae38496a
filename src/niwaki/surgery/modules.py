"""Numbers that modules keep beside their tensors and that must follow a cut (``out_channels``, ``groups``, …).

An adapter is a function ``(module, change)`` that sets them; register one for your own class::

    @nk.adapter(MyLayer)
    def my_layer(module, change):
        module.width = module.weight.shape[0]

It runs after the tensors were cut; ``change`` tells which indices of the module's own tensors went.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from niwaki.units import Axis

Adapter = Callable[[Any, "Change"], None]
ADAPTERS: dict[type, Adapter] = {}


@dataclass(frozen=True)
class Change:
    """What a cut removed from one module's own tensors.

    ``removed``: ``(local tensor name, dim)`` to ascending indices. ``before``: local tensor name to the old shape.
    """

    removed: Mapping[tuple[str, int], tuple[int, ...]]
    before: Mapping[str, tuple[int, ...]]


def adapter(*classes: type) -> Callable[[Adapter], Adapter]:
    """Register an adapter for module classes (and their subclasses, unless those have their own)."""

    def register(function: Adapter) -> Adapter:
        for cls in classes:
            ADAPTERS[cls] = function
        return function

    return register


def follow(model: nn.Module, removed: Mapping[Axis, tuple[int, ...]], before: Mapping[str, tuple[int, ...]]) -> None:
    """Let every module that lost tensor entries set its own numbers right."""
    names = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
    by_name: dict[str, dict[int, tuple[int, ...]]] = {}
    for axis, indices in removed.items():
        by_name.setdefault(axis.name, {})[axis.dim] = indices
    for module in model.modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        gone = {(local, dim): indices for local, t in own for dim, indices in by_name.get(names[id(t)], {}).items()}
        function = _adapter_for(type(module))
        if gone and function is not None:
            function(module, Change(gone, {local: before[names[id(t)]] for local, t in own}))


def _adapter_for(cls: type) -> Adapter | None:
    return next((ADAPTERS[base] for base in cls.__mro__ if base in ADAPTERS), None)


@adapter(nn.Linear)
def _linear(module: Any, change: Change) -> None:
    module.out_features, module.in_features = module.weight.shape


@adapter(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def _convolution(module: Any, change: Change) -> None:
    module.groups = _groups_left(module.groups, change, "weight", 0)
    module.out_channels = module.weight.shape[0]
    module.in_channels = module.weight.shape[1] * module.groups


@adapter(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def _transposed(module: Any, change: Change) -> None:
    module.groups = _groups_left(module.groups, change, "weight", 0)
    module.in_channels = module.weight.shape[0]
    module.out_channels = module.weight.shape[1] * module.groups


def _groups_left(groups: int, change: Change, name: str, dim: int) -> int:
    """How many groups still have a channel (a group goes when all of its channels go)."""
    size = change.before[name][dim]
    gone = set(change.removed.get((name, dim), ()))
    inside = size // groups
    return sum(any(g * inside + i not in gone for i in range(inside)) for g in range(groups))


@adapter(
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
def _batch_norm(module: Any, change: Change) -> None:
    vector = module.weight if module.weight is not None else module.running_mean
    module.num_features = vector.shape[0]


@adapter(nn.LayerNorm, *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []))
def _layer_norm(module: Any, change: Change) -> None:
    module.normalized_shape = tuple(module.weight.shape)


@adapter(nn.GroupNorm)
def _group_norm(module: Any, change: Change) -> None:
    if module.num_groups == module.num_channels:  # one channel a group: the groups go with the channels
        module.num_groups = module.weight.shape[0]
    module.num_channels = module.weight.shape[0]


@adapter(nn.PReLU)
def _prelu(module: Any, change: Change) -> None:
    module.num_parameters = module.weight.shape[0]


@adapter(nn.Embedding)
def _embedding(module: Any, change: Change) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


@adapter(nn.Bilinear)
def _bilinear(module: Any, change: Change) -> None:
    module.out_features, module.in1_features, module.in2_features = module.weight.shape
