"""Set the whole numbers that modules keep beside their tensors, as a plan says."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from niwaki.errors import StalePlan
from niwaki.units.plan import Numbers


def check_numbers(model: nn.Module, numbers: Numbers) -> None:
    """Raise :class:`StalePlan` unless every number is there and has the value that the plan was made for."""
    modules = dict(model.named_modules())
    for (name, attribute), (before, _) in numbers.items():
        if name not in modules:
            raise StalePlan(
                f"the plan is of another model: it sets {attribute!r} of a module {name!r} that is not here"
            )
        found = single(number_of(modules[name], attribute))
        if type(found) is not int or found != before:
            raise StalePlan(
                f"the plan is of another model: {name}.{attribute} should be the number {before}, found {found!r}"
            )


def set_numbers(model: nn.Module, numbers: Numbers) -> None:
    """Set every number. A ``config`` is shared by many modules: the one that needs another number gets its own copy."""
    modules = dict(model.named_modules())
    for (name, attribute), (_, after) in numbers.items():
        set_number(modules[name], attribute, after)


def set_number(module: Any, attribute: str, value: Any) -> None:
    """Set one number of a module, or of a copy of its config; one that is alone in a tuple stays in a tuple."""
    if attribute.startswith("config."):
        module.config = copy.copy(module.config)
    holder, leaf = _holder(module, attribute)
    found = vars(holder).get(leaf)
    setattr(holder, leaf, (value,) if type(value) is int and single(found) is not found else value)


def number_of(module: Any, attribute: str) -> Any:
    """The number as it is; None if there is none."""
    holder, leaf = _holder(module, attribute)
    return vars(holder).get(leaf) if hasattr(holder, "__dict__") else None


def single(value: Any) -> Any:
    """What is alone in a tuple (``normalized_shape``); anything else itself."""
    return value[0] if type(value) is tuple and len(value) == 1 else value


def _holder(module: Any, attribute: str) -> tuple[Any, str]:
    """The object that holds the number, and the number's name on it."""
    config, _, leaf = attribute.rpartition(".")
    return (getattr(module, "config", None) if config else module), leaf


__all__ = ["check_numbers", "number_of", "set_number", "set_numbers", "single"]
