"""Caches that fill up while a model is watched: those of functions, and the tables that its code keeps by hand."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch import Tensor, nn

_KIND: type = type(functools.lru_cache(len))
_known: list[Any] | None = None
_OWN = ("torch", "triton")
"""Their caches hold no tensors of a model's, and some see to it that a thing is done once: the compiler registers its
patterns so, and fails when it does it again."""


@contextmanager
def forgetting() -> Iterator[None]:
    """Empty every ``functools.lru_cache`` of models' code that was filled inside: it may hold tensors that only the
    watched run can use (fake ones, or ones that no gradient can pass), and the user's next forward pass would be given
    those.

    Looking for all caches takes a tenth of a second with large libraries loaded; nested contexts look once.
    """
    global _known
    outermost = _known is None
    known = _known = _caches() if _known is None else _known
    before = [cached.cache_info().misses for cached in known]
    try:
        yield
    finally:
        for cached, misses in zip(known, before, strict=True):
            if cached.cache_info().misses != misses:
                cached.cache_clear()
        if outermost:
            _known = None


def _caches() -> list[Any]:
    found = (item for item in gc.get_objects() if type(item) is _KIND)
    return [item for item in found if str(getattr(item, "__module__", "")).partition(".")[0] not in _OWN]


_MANY = 1000
"""Longer lists and tables hold data, and are no caches."""


@contextmanager
def unfilled(model: nn.Module) -> Iterator[None]:
    """Take out the tensors that the watched run puts into variables, tables and lists of the modules and classes that
    the model is made of, for the same reason as in :func:`forgetting`. What other threads do there meanwhile stays."""
    homes = _homes(model)
    variables = [(home, dict(vars(home))) for home in homes]
    tables = [(table, dict(_items(table))) for table in _tables(homes)]
    try:
        yield
    finally:
        for home, names in variables:
            for name, value in list(vars(home).items()):
                if names.get(name) is not value and _is_watched(value):
                    setattr(home, name, names[name]) if name in names else delattr(home, name)
        for table, items in tables:
            _clean(table, items)


def _clean(table: Any, before: dict[Any, Any]) -> None:
    """Take out, one by one, the entries that are new and of the watched run; what they displaced comes back."""
    known = {id(value) for value in before.values()}
    for value in [v for _, v in _items(table) if id(v) not in known and _is_watched(v)]:
        now = _items(table)
        key = next((k for k, v in now if v is value), None)  # in a list it may have moved
        if key in before and not (isinstance(table, list) and any(v is before[key] for _, v in now)):
            table[key] = before[key]
        elif key is not None:
            del table[key]


def _homes(model: nn.Module) -> list[ModuleType | type]:
    """The classes of the model's modules, with those that they inherit from, and the files that define them."""
    classes = {base: None for module in model.modules() for base in type(module).__mro__}
    own = [c for c in classes if c.__module__.partition(".")[0] not in (*_OWN, "builtins")]
    files = {c.__module__: sys.modules.get(c.__module__) for c in own}
    return [*own, *(f for f in files.values() if f is not None)]


def _tables(homes: list[ModuleType | type]) -> list[Any]:
    """Their dicts and lists, and those right inside, each once."""
    found: dict[int, Any] = {}
    for home in homes:
        for name, value in vars(home).items():
            if not name.startswith("__") and _is_table(value):
                found[id(value)] = value
                found.update((id(inner), inner) for _, inner in _items(value) if _is_table(inner))
    return list(found.values())


def _is_table(value: Any) -> bool:
    return isinstance(value, (dict, list)) and len(value) <= _MANY


def _items(table: Any) -> list[tuple[Any, Any]]:
    """Keys and values as they lie there: a lazy dict of a library would load what it is asked for."""
    return list(dict.items(table) if isinstance(table, dict) else enumerate(table))


def _is_watched(value: Any, deep: int = 3) -> bool:
    """Is it a tensor that a watched run made (a fake one, or one of inference mode), or does it hold some, not too deep
    inside?"""
    from torch._subclasses.fake_tensor import FakeTensor

    if deep and isinstance(value, (dict, list, tuple)):
        inside = list(dict.values(value) if isinstance(value, dict) else value)
        return any(_is_watched(item, deep - 1) for item in inside)
    return isinstance(value, FakeTensor) or (isinstance(value, Tensor) and value.is_inference())


__all__ = ["forgetting", "unfilled"]
