"""Packed layers in their places inside a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from niwaki.errors import BrokenFile
from niwaki.packed.layer import PackedLinear
from niwaki.packed.matrices import is_linear, is_transposed, matrix
from niwaki.packed.record import PackedLayer, Packing

ATTRIBUTE = "_niwaki_packing"


def packing_of(model: nn.Module) -> Packing | None:
    """The record of how ``model`` was packed; None if it never was."""
    return getattr(model, ATTRIBUTE, None)


def attach(model: nn.Module, packing: Packing) -> None:
    """Remember the record on the model."""
    object.__setattr__(model, ATTRIBUTE, packing)


def put(model: nn.Module, layers: Mapping[int, nn.Module]) -> None:
    """Put modules in the place of others (by the id of the old one), wherever those are held."""
    for holder in list(model.modules()):
        for name, child in list(holder._modules.items()):
            if child is not None and id(child) in layers:
                holder._modules[name] = layers[id(child)]


def replaced(model: nn.Module, names: Iterable[str], build: Callable[[str, Any], PackedLinear]) -> None:
    """Replace linear layers by what ``build`` makes of (name, layer). Layers that share one weight share what is left
    of it, as long as each has the same form."""
    modules = dict(model.named_modules(remove_duplicate=False))
    fresh: dict[int, nn.Module] = {}
    first: dict[int, PackedLinear] = {}
    for name in names:
        old: Any = modules[name]
        if id(old) in fresh:
            continue
        new = build(name, old)
        twin = first.setdefault(id(old.weight), new)
        if twin is not new:
            _share(twin, new)
        new.train(old.training)
        fresh[id(old)] = new
    put(model, fresh)


def rebuild(model: nn.Module, packing: Packing) -> None:
    """Give a model of the right shapes the empty layers that a record tells of.

    Raises:
        BrokenFile: the record is of another model.
    """
    wanted = {layer.name: layer for layer in packing.layers if layer.is_packed}
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, layer in wanted.items():
        _fits(name, layer, modules.get(name))
    replaced(model, wanted, lambda name, old: _empty(wanted[name], old))
    attach(model, packing)


def _fits(name: str, layer: PackedLayer, module: nn.Module | None) -> None:
    if module is None or not is_linear(module):
        found = "no module" if module is None else type(module).__name__
        raise BrokenFile(f"the packing is of another model: {name!r} should be a linear layer, found {found}")
    shape, told = tuple(matrix(module).shape), (layer.sizes.outputs, layer.sizes.inputs)
    if shape != told or is_transposed(module) != layer.sizes.transposed:
        raise BrokenFile(f"the packing is of another model: {name!r} should have a matrix of {told}, found {shape}")


def _empty(layer: PackedLayer, old: Any) -> PackedLinear:
    weight = old.weight
    return PackedLinear(layer.sizes, old.bias, dtype=weight.dtype, device=weight.device, trains=weight.requires_grad)


def _share(one: PackedLinear, other: PackedLinear) -> None:
    other.core, other.values = one.core, one.values
    for name in ("columns", "places", "indices", "starts"):
        other._buffers[name] = one._buffers[name]


__all__ = ["attach", "packing_of", "put", "rebuild", "replaced"]
