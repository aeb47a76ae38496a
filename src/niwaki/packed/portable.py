"""Packed layers for runtimes that have no product with single entries."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from niwaki.graph.copies import duplicate
from niwaki.packed.counts import counted
from niwaki.packed.layer import PackedLinear
from niwaki.packed.places import put
from niwaki.packed.split import split

Model = TypeVar("Model", bound=nn.Module)


def portable(model: Model) -> tuple[Model, dict[str, str]]:
    """The model with its layers of single entries as rows × columns, or dense where that counts no more; and which form
    each of those layers has now, by name. A copy if there is one, the model itself if not."""
    if not any(_single(m) for m in model.modules()):
        return model, {}
    model = duplicate(model)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, PackedLinear) and _single(m)}
    told, fresh = {}, {}
    for name, layer in layers.items():
        told[name], fresh[id(layer)] = _without_single(layer)
    put(model, fresh)
    return model, told


def _single(module: nn.Module) -> bool:
    return isinstance(module, PackedLinear) and module.values is not None


def _without_single(layer: PackedLinear) -> tuple[str, nn.Module]:
    weight = layer.weight.detach()
    weight = weight.t() if layer.sizes.transposed else weight
    parts = split((weight != 0).cpu().numpy(), "rows_columns")
    if counted(parts.sizes()) < weight.numel():
        return "rows_columns", PackedLinear.of(weight, parts, layer.bias, transposed=False, trains=False)
    dense = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    dense.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if layer.bias is not None:
        dense.bias = layer.bias
    return "dense", dense


__all__ = ["portable"]
