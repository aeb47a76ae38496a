"""Make the cut model of the dense one that stock code built: what is checked, and done before and after loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace as exchanged
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import StalePlan
from niwaki.surgery.hugging.uneven import Uneven
from niwaki.surgery.numbers import number_of, set_number
from niwaki.surgery.slices import replace, select
from niwaki.units import Axis


def fitted(said: Uneven, model: nn.Module) -> Uneven:
    """The same under the names of ``model``, a fresh dense one: of the class that was saved, or of one that shares its
    base.

    Raises:
        StalePlan: a tensor or a module is not there, or would grow.
    """
    name = _names(said, model)
    tensors = {new: shape for old, shape in said.tensors.items() if (new := name(old)) is not None}
    numbers = {(new, a): n for (old, a), n in said.numbers.items() if (new := name(old)) is not None}
    tables = {Axis(new, axis.dim): gone for axis, gone in said.tables.items() if (new := name(axis.name)) is not None}
    found = exchanged(said, tensors=tensors, numbers=numbers, tables=tables)
    trouble = _misfit(found, model)
    if trouble:
        raise StalePlan(f"config.json does not fit {type(model).__name__}, a cut {said.model} was saved: {trouble}")
    return found


def before_loading(said: Uneven, model: nn.Module) -> None:
    """Give saved tensors their sizes. Their values are yet to come."""
    named = _tensors(model)
    fresh: dict[int, Tensor] = {}
    for name, shape in said.tensors.items():
        old = named[name]
        new = torch.empty(shape, dtype=old.dtype, device=old.device)
        fresh[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
    replace(model, fresh)


def after_loading(said: Uneven, model: nn.Module) -> None:
    """Cut the tables, which the class has computed for the dense model, and set the numbers of the modules."""
    named = _tensors(model)
    gone: dict[str, dict[int, tuple[int, ...]]] = {}
    for axis, indices in said.tables.items():
        gone.setdefault(axis.name, {})[axis.dim] = indices
    replace(model, {id(named[name]): select(named[name].detach(), dims) for name, dims in gone.items()})
    modules = _modules(model)
    for (name, attribute), value in said.numbers.items():
        set_number(modules[name], attribute, value)


def _names(said: Uneven, model: Any) -> Callable[[str], str | None]:
    """From the names of the class that was saved to those of ``model``; None for a head that it lacks."""
    base = getattr(model, "base_model", model)
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    inside = "" if base is model else prefix
    there = _tensors(model).keys() | _modules(model).keys()

    def name(old: str) -> str | None:
        if said.model == type(model).__name__:
            return old
        if said.model == type(base).__name__:  # it was saved without a head
            return f"{inside}{old}".removesuffix(".")
        if f"{old}.".startswith(prefix):
            return f"{inside}{old[len(prefix) :]}".removesuffix(".")
        return old if inside and old in there else None

    return name


def _misfit(said: Uneven, model: nn.Module) -> str:
    """What does not fit; empty if all does."""
    named, modules = _tensors(model), _modules(model)
    kept = model.state_dict(keep_vars=True)
    troubles = [_shape_trouble(name, shape, named, kept) for name, shape in said.tensors.items()]
    troubles += [_number_trouble(name, a, n, modules) for (name, a), n in said.numbers.items()]
    troubles += [_table_trouble(axis, gone, named, kept) for axis, gone in said.tables.items()]
    return next(filter(None, troubles), "")


def _shape_trouble(
    name: str, shape: tuple[int, ...], named: Mapping[str, Tensor], kept: Mapping[str, Any]
) -> str | None:
    if name not in named or name not in kept:
        return f"there is no saved tensor {name!r}"
    dense = tuple(named[name].shape)
    if len(dense) != len(shape) or any(n > m for n, m in zip(shape, dense, strict=True)):
        return f"{name!r} should have shape {shape}, which is no part of the dense one, {dense}"
    return None


def _number_trouble(name: str, attribute: str, value: Any, modules: Mapping[str, nn.Module]) -> str | None:
    if name not in modules:
        return f"there is no module {name!r} to set {attribute!r} of"
    found = number_of(modules[name], attribute)
    pairs = [(value, found)] if type(value) is int else list(zip(value, found, strict=False)) if found else []
    alike = type(found) is type(value) and (type(value) is int or len(found) == len(value))
    if not alike or not all(type(m) is int and 0 < n <= m for n, m in pairs):
        return f"{name}.{attribute} should become {value!r}, and in the dense model it is {found!r}"
    return None


def _table_trouble(
    axis: Axis, gone: tuple[int, ...], named: Mapping[str, Tensor], kept: Mapping[str, Any]
) -> str | None:
    if axis.name not in named or axis.name in kept:
        return f"there is no tensor {axis.name!r} that is computed and not saved"
    shape = tuple(named[axis.name].shape)
    if axis.dim >= len(shape) or gone[-1] >= shape[axis.dim] or len(gone) >= shape[axis.dim]:
        return f"{axis} should lose {len(gone)} entries up to number {gone[-1]}, of shape {shape}"
    return None


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    return dict(model.named_modules(remove_duplicate=False))


__all__ = ["after_loading", "before_loading", "fitted"]
