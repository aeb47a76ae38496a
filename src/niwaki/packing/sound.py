"""Packed layers put in their places, and taken out again where the model would answer otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs
from niwaki.packed import PackedLayer, PackedLinear, Split, matrix
from niwaki.packed.matrices import is_transposed
from niwaki.packed.places import replaced
from niwaki.packing.choose import Choice
from niwaki.packing.sameness import same


def sound(
    model: nn.Module, small: nn.Module, chosen: list[Choice], inputs: Inputs
) -> tuple[nn.Module, tuple[PackedLayer, ...]]:
    """The packed model, and the record of its layers; those that would change an answer are left dense."""
    splits = {record.name: parts for record, parts in chosen if parts is not None}

    def trouble(names: list[str]) -> str:
        return _trouble(model, _placed(small, {name: splits[name] for name in names}), inputs)

    bad = _guilty(list(splits), trouble)
    good = {name: parts for name, parts in splits.items() if name not in bad}
    if bad and trouble(list(good)):
        bad, good = {name: bad.get(name, "only all together") for name in splits}, {}
    layers = (_given_up(record, bad[record.name]) if record.name in bad else record for record, _ in chosen)
    return _placed(small, good), tuple(layers)


def _guilty(names: list[str], trouble: Callable[[list[str]], str]) -> dict[str, str]:
    """Layers by which the answers change, found by halves, with how."""
    told = trouble(names) if names else ""
    if not told:
        return {}
    if len(names) == 1:
        return {names[0]: told}
    half = len(names) // 2
    return _guilty(names[:half], trouble) | _guilty(names[half:], trouble)


def _trouble(model: nn.Module, packed: nn.Module, inputs: Inputs) -> str:
    try:
        check = same(model, packed, inputs)
    except Exception as trouble:  # code of any model, on a layer of another class
        return f"{type(trouble).__name__}: {trouble}"
    return "" if check.holds else check.detail if check.worst is None else f"by {check.worst:.1e}"


def _given_up(record: PackedLayer, told: str) -> PackedLayer:
    sizes = replace(record.sizes, rows=None, columns=None, values=0)
    reason = f"as {record.form} it would change what the model answers: {told}"
    return replace(record, form="dense", sizes=sizes, reason=reason)


def _placed(small: nn.Module, splits: Mapping[str, Split]) -> nn.Module:
    """A copy with packed layers in their places."""

    def build(name: str, old: Any) -> PackedLinear:
        trains = old.weight.requires_grad
        return PackedLinear.of(matrix(old), splits[name], old.bias, transposed=is_transposed(old), trains=trains)

    packed = duplicate(small)
    replaced(packed, splits, build)
    return packed


__all__ = ["sound"]
