"""Tensors that modules hold beside their parameters and buffers: in a list, a dict or an object, where a new one can be
put in place of the old; or in a function itself, where none can.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import CannotFollow

SLOTS = frozenset(vars(nn.Module()))
"""What every module has: its slots, which are exchanged by name, and its hooks."""
PASSED = frozenset({"torch", "niwaki", "builtins", "functools", "weakref", "threading"})
"""Packages whose objects are not looked into: an optimizer, and what shards a model, follow in their own way."""
CONTAINERS = (list, tuple, dict, set, FunctionType, MethodType, partial, nn.Module)
PLAIN = frozenset({int, float, bool, str, bytes, type(None)})
MANY = 2000
"""A container whose first so many items hold no tensor (numbers and names not counted) is one of data."""

Put = Callable[[Any], None]


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor that a module holds beside its slots. ``place``: the name of the module and the attribute. ``put``: puts
    another there; None where a function itself holds it."""

    place: str
    tensor: Tensor
    put: Put | None


def held_beside(model: nn.Module) -> Iterator[Held]:
    """All such tensors."""
    seen = {id(m) for m in model.modules()}
    for name, module in model.named_modules():
        own = vars(module)
        for attribute, value in list(own.items()):
            if attribute not in SLOTS:
                place = f"{name}.{attribute}".lstrip(".")
                for tensor, put in _walk(value, partial(own.__setitem__, attribute), seen, 1):
                    yield Held(place, tensor, put)


def check_beside(model: nn.Module, names: Mapping[int, str]) -> None:
    """Raise :class:`CannotFollow` if a function that a module keeps itself holds one of these tensors
    (``names``: by id). One in a list or an object that the function holds is exchanged there."""
    for held in held_beside(model):
        if held.put is None and id(held.tensor) in names:
            raise CannotFollow(
                f"{held.place!r} holds {names[id(held.tensor)]!r} inside a function (a partial or a closure), which "
                "would go on with the old tensor. Let it take the tensor from its module when it is called."
            )


def exchange_beside(model: nn.Module, fresh: Mapping[int, Tensor]) -> None:
    """Put new tensors, by the ``id`` of the old ones, wherever else the modules hold those."""
    for held in list(held_beside(model)):
        if held.put is not None and id(held.tensor) in fresh:
            held.put(fresh[id(held.tensor)])


def _walk(value: Any, put: Put | None, seen: set[int], objects: int) -> Iterator[tuple[Tensor, Put | None]]:
    """The tensors in a value, each with what puts another in its place. ``put``: the same for the value itself.
    ``objects``: inside how many objects to look; from a trainer, say, everything can be reached."""
    if isinstance(value, Tensor):
        yield value, put
        return
    inside = None if id(value) in seen or _is_plain(value) else _inside(value, put, objects)
    if inside is None:
        return
    if not isinstance(value, tuple):  # each holder of a tuple is given a new one
        seen.add(id(value))
    found = False
    for k, (item, place) in enumerate(inside):
        if k == MANY and not found:
            return
        for held in _walk(item, place, seen, objects - (not isinstance(value, CONTAINERS))):
            found = True
            yield held


def _is_plain(value: Any) -> bool:
    """Data, such as the path and the label of a picture: quickly told, for there may be hundreds of thousands."""
    return type(value) in PLAIN or (isinstance(value, (list, tuple)) and PLAIN.issuperset(map(type, value)))


def _inside(value: Any, put: Put | None, objects: int) -> Iterable[tuple[Any, Put | None]] | None:
    """What a value holds, with what puts other things in their places: nothing does in a function, though it does in a
    list that a function holds. None for what is not looked into."""
    if isinstance(value, tuple):
        return _rebuilding(value, put)
    if isinstance(value, list):
        return _placed(enumerate(value), value.__setitem__)
    if isinstance(value, dict):
        return _placed(list(value.items()), value.__setitem__)
    if isinstance(value, set):
        return _placed([(item, item) for item in value], partial(_exchange_in, value))
    if isinstance(value, (FunctionType, partial)):
        return ((item, None) for item in _captured(value))
    if isinstance(value, MethodType):
        return [(value.__self__, None)]
    if isinstance(value, nn.Module) or (objects > 0 and _is_looked_into(value)):
        return _placed(list(vars(value).items()), vars(value).__setitem__)
    return None


def _placed(items: Iterable[tuple[Any, Any]], put: Callable[[Any, Any], None]) -> Iterator[tuple[Any, Put]]:
    return ((item, partial(put, key)) for key, item in items if type(item) not in PLAIN)


def _rebuilding(value: tuple[Any, ...], put: Put | None) -> Iterator[tuple[Any, Put | None]]:
    items = list(value)

    def place(k: int, new: Any) -> None:
        items[k] = new
        if put is not None:
            put(type(value)(*items) if hasattr(value, "_fields") else type(value)(items))

    return ((item, None if put is None else partial(place, k)) for k, item in enumerate(value))


def _is_looked_into(value: Any) -> bool:
    passed = isinstance(value, (type, torch.optim.Optimizer)) or inspect.ismodule(value)
    return hasattr(value, "__dict__") and not passed and type(value).__module__.partition(".")[0] not in PASSED


def _captured(function: Any) -> Iterator[Any]:
    """What a function was given to keep."""
    if isinstance(function, partial):
        yield from (function.func, *function.args, *function.keywords.values())
        return
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet set
            continue


def _exchange_in(items: set[Any], old: Any, new: Any) -> None:
    items.remove(old)
    items.add(new)


__all__ = ["Held", "check_beside", "exchange_beside", "held_beside"]
