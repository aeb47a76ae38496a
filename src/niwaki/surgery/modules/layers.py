"""Adapters for linear layers, convolutions, norms and embeddings."""

from __future__ import annotations

from typing import Any

from torch import nn

from niwaki.surgery.modules.table import Change, adapter


@adapter(nn.Linear)
def _linear(module: Any, change: Change) -> None:
    module.out_features, module.in_features = change.after("weight")


@adapter(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def _convolution(module: Any, change: Change) -> None:
    module.groups = _groups_left(module.groups, change, "weight", 0)
    module.out_channels, inside, *_ = change.after("weight")
    module.in_channels = inside * module.groups


@adapter(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def _transposed(module: Any, change: Change) -> None:
    module.groups = _groups_left(module.groups, change, "weight", 0)
    module.in_channels, inside, *_ = change.after("weight")
    module.out_channels = inside * module.groups


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
    module.num_embeddings, module.embedding_dim = change.after("weight")


@adapter(nn.Bilinear)
def _bilinear(module: Any, change: Change) -> None:
    module.out_features, module.in1_features, module.in2_features = change.after("weight")


@adapter("transformers.pytorch_utils.Conv1D", sets=("nf", "nx"))
def _transposed_linear(module: Any, change: Change) -> None:
    """Of GPT-2 and its kin: a linear layer that keeps its weight the other way round."""
    module.nx, module.nf = change.after("weight")
