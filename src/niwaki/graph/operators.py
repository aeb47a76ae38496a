"""What an operator says of itself: its name, its arguments, and what kind it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch


@cache
def rule_name(func: Any) -> str:
    """What its rule is called: without the namespace of torch's own, and without the underscore of a write in place."""
    if not hasattr(func, "_schema"):  # an operator of higher order, which takes functions
        return f"higher_order::{func.__name__}"
    name = str(func._schema.name.removeprefix("aten::"))
    return name[:-1] if mutates(func) and name.endswith("_") and not name.endswith("__") else name


def mutates(func: Any) -> bool:
    """Does it write into an argument?"""
    return hasattr(func, "_schema") and bool(func._schema.is_mutable)


def moves(func: Any) -> bool:
    """Does it change the shape of its argument in place, and no value?"""
    return torch.Tag.inplace_view in getattr(func, "tags", ())


@cache
def composite(func: Any) -> bool:
    """Does torch itself make it out of other operations, tensors out of tensors?"""
    if not hasattr(func, "_schema") or mutates(func):
        return False
    made = any("Tensor" in str(r.type) for r in func._schema.returns)
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return made and bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key))


def by_name(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their names in the schema, defaults filled in; without a schema, by their places."""
    if not hasattr(func, "_schema"):
        return {**{str(k): x for k, x in enumerate(args)}, **kwargs}
    named: dict[str, Any] = {}
    for k, argument in enumerate(func._schema.arguments):
        if k < len(args) and not argument.kwarg_only:
            named[argument.name] = args[k]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


@cache
def arithmetic(func: Any) -> tuple[str, ...]:
    """Names of the arguments that are numbers to compute with (sizes and dimensions are not)."""
    # What a range and a histogram make is labelled for its positions.
    if not hasattr(func, "_schema") or func._schema.name in ("aten::arange", "aten::histc"):
        return ()
    # A plain number may stand where a tensor is declared (x / 8.0).
    kinds = {"number", "float", "Optional[number]", "Optional[float]", "List[float]", "Tensor"}
    return tuple(a.name for a in func._schema.arguments if str(a.type) in kinds)


__all__ = ["arithmetic", "by_name", "composite", "moves", "mutates", "rule_name"]
