"""What a model is beside the values of its weights: sizes of tensors, and what its modules keep to compute with.

Two models of one class that agree in these, and in the weights, compute the same: they run the same code on the same
numbers.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn

Place = tuple[str, str]
"""Module name and attribute; ``config.NAME`` for what its methods read from its config."""

BEGINNINGS = frozenset({"__init__", "_init_weights", "__new__", "extra_repr", "__repr__"})
"""Methods that run before there is anything to compute (what they leave behind is seen), or only tell."""


def sizes(model: nn.Module) -> dict[tuple[str, int], int]:
    """Length of every dimension of every tensor."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {(name, dim): n for name, t in named for dim, n in enumerate(t.shape)}


def facts(model: nn.Module) -> dict[Place, Any]:
    """Everything plain that the modules keep or find in their config, and that their code reads when it runs."""
    found: dict[Place, Any] = {}
    for name, module in model.named_modules():
        kind: type = type(module)
        found[name, "class"] = kind.__qualname__
        read = read_from_modules(kind)
        for attribute, value in vars(module).items():
            if attribute in read and attribute != "training" and _plain(value):
                found[name, attribute] = _frozen(value)
        config = getattr(module, "config", None)
        for field in read_from_config(kind):
            if _plain(value := _said(config, field)):
                found[name, f"config.{field}"] = _frozen(value)
    return found


def _said(config: Any, field: str) -> Any:
    """What a config says; something that is not plain if it does not, or not for all layers alike."""
    try:
        return getattr(config, field, ...)
    except RuntimeError:
        return ...


def computed(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that are not saved: the class computes them from the config."""
    saved = set(model.state_dict(keep_vars=True))
    return {name: t for name, t in model.named_buffers(remove_duplicate=False) if name not in saved}


def left_out(model: Any) -> list[str]:
    """Names of tensors that the class leaves out when it saves, and computes anew when it loads."""
    return [name for name in getattr(model, "_keys_to_ignore_on_save", None) or () if name in model.state_dict()]


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


@cache
def read_from_config(kind: type) -> frozenset[str]:
    """Names that the methods of a module class take from ``self.config`` (or a ``config`` at hand) when they run."""
    functions = [f for base in _written(kind) for f in _methods(base)]
    return frozenset(name for f in functions for code in _codes(f.__code__) for name in _read(code, config=True))


@cache
def read_from_modules(kind: type) -> frozenset[str]:
    """Attributes that are read, of whatever object, by the code beside a module class when it runs. (What only a
    constructor reads, or nobody at all, is a note of what once was.)"""
    files = {base.__module__ for base in _written(kind)}
    functions = [f for file in files for f in _functions(file)]
    return frozenset(name for f in functions for code in _codes(f.__code__) for name in _read(code, config=False))


def _written(kind: type) -> list[type]:
    """The classes that make up ``kind``, without the base of all modules and the machinery that saves and generates."""
    return [
        base
        for base in kind.__mro__
        if base not in (object, nn.Module)
        and (not base.__module__.startswith("transformers.") or base.__module__.startswith("transformers.models."))
    ]


def _functions(file: str) -> Iterator[FunctionType]:
    """All functions and methods of a Python module."""
    for value in list(vars(sys.modules[file]).values()) if file in sys.modules else ():
        if inspect.isfunction(value) and value.__module__ == file:
            yield inspect.unwrap(value)
        elif inspect.isclass(value) and value.__module__ == file:
            yield from _methods(value)


def _methods(kind: type) -> Iterator[FunctionType]:
    """The methods that a class defines itself, and that run after it was built."""
    for name, value in vars(kind).items():
        function = inspect.unwrap(value.fget) if isinstance(value, property) and value.fget else value
        if isinstance(function, (staticmethod, classmethod)) or name in BEGINNINGS:
            continue
        function = inspect.unwrap(function) if callable(function) and not inspect.isclass(function) else function
        if inspect.isfunction(function):
            yield function


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _read(code: CodeType, *, config: bool) -> Iterator[str]:
    """Names in ``config.NAME`` and ``getattr(config, "NAME")``; or else in all other ``x.NAME`` and texts."""
    before: Any = None
    for step in dis.get_instructions(code):
        if isinstance(step.argval, str) and (before == "config") is config:
            yield step.argval
        before = step.argval


__all__ = ["Place", "computed", "facts", "left_out", "read_from_config", "read_from_modules", "sizes"]
