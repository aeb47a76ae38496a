"""The numbers in a config, one by one: where each is, how to read it and how to change it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

NO_SIZE = re.compile(
    r"(^|_)(ids?|idx|index|layers?|depths?|blocks?|kernel|strides?|padding|dilation|window|patch|image|vocab|position|"
    r"positions|seq|length|max|min|buckets|distance|chunk|batch|tokens?|steps?|beams?|labels|version|seed|tok|topk|"
    r"bins|interval|every|pattern|frames|rate)(_|$)"
)
"""Words in names of fields that are no width and no count of parts."""
UNSAID = re.compile(r"head_dim|inner|ffn|intermediate|_dim$|_size$")
"""Names of fields that may be None, or not be there at all, where the class computes a size by itself."""


@dataclass(frozen=True, order=True)
class Field:
    """A number in a config: ``path`` leads to the config inside configs, ``index`` into a list of numbers, ``layer`` to
    what is said of one layer."""

    path: tuple[str, ...]
    name: str
    index: int = -1
    layer: int = -1

    def __str__(self) -> str:
        layer = [f"per_layer_config[{self.layer}]"] if self.layer >= 0 else []
        return ".".join([*self.path, *layer, self.name]) + (f"[{self.index}]" if self.index >= 0 else "")


Values = Mapping[Field, "int | None"]


def fields(config: Any, path: tuple[str, ...] = ()) -> dict[Field, int | None]:
    """Every field that may be a size, with its value."""
    found: dict[Field, int | None] = {}
    kept = dict(vars(config))
    if "head_dim" not in kept:
        kept["head_dim"] = None  # many classes look for it, and fewer configs have it
    for name, value in kept.items():
        if name.startswith("_"):
            continue
        if is_config(value):
            found |= fields(value, (*path, name))
        elif not NO_SIZE.search(name):
            found |= dict(_numbers(Field(path, name), value))
    return found


def _numbers(field: Field, value: Any) -> Iterator[tuple[Field, int | None]]:
    if type(value) is int and value > 0:
        yield field, value
    elif value is None and UNSAID.search(field.name):
        yield field, None
    elif isinstance(value, (list, tuple)) and 0 < len(value) <= 16 and all(type(n) is int and n > 0 for n in value):
        yield from ((Field(field.path, field.name, k), n) for k, n in enumerate(value))


def changed(config: Any, values: Values, memo: dict[int, Any] | None = None) -> Any:
    """A copy of the config with other values. ``memo``: as for ``copy.deepcopy``, to find the configs inside again."""
    fresh = copy.deepcopy(config, memo)
    for field, value in values.items():
        if field.layer < 0:
            _set(_at(fresh, field.path), field, value)
    for path, inner in configs(fresh):
        told = overrides(fresh, path) if is_layered(inner) else {}
        for field, value in values.items():
            if field.path == path and field.layer >= 0:
                here = told.setdefault(field.layer, {})
                here[field.name] = _with(here.get(field.name, vars(inner).get(field.name)), field, value)
        if told:
            inner.per_layer_config = told  # what all layers say by now is left out
    return fresh


def give(model: Any, fresh: Any, memo: Mapping[int, Any]) -> None:
    """Give the model a copy of its config, in all places that held the old one or a part of it.

    Args: memo: that ``copy.deepcopy`` filled.
    """
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if is_config(value) and id(value) in memo:
                setattr(module, name, memo[id(value)])
    model.config = fresh


def value_of(config: Any, field: Field) -> int | None:
    """What the config says, of a layer or of all; None if nothing."""
    if field.layer >= 0:
        config, field = without_layers(config, field.path, field.layer), replace(field, layer=-1)
    return fields(config).get(field)


def layers_of(config: Any) -> dict[Field, int | None]:
    """All numbers that are said of single layers."""
    return {
        Field(path, name, layer=layer): n
        for path, inner in configs(config)
        if is_layered(inner)
        for layer, values in overrides(config, path).items()
        for name, n in values.items()
        if type(n) is int
    }


def without_layers(config: Any, path: tuple[str, ...], layer: int) -> Any:
    """A copy of the config that says of all layers what it says of this one."""
    fresh = copy.deepcopy(config)
    told = overrides(fresh, path)
    if told:
        holder = _at(fresh, path)
        holder.per_layer_config = None
        for name, value in told.get(layer, {}).items():
            setattr(holder, name, value)
        holder.per_layer_config = {}  # none at all would be filled in again by some classes
    return fresh


def overrides(config: Any, path: tuple[str, ...]) -> dict[int, dict[str, Any]]:
    """What the config at ``path`` says of single layers."""
    told = _at(config, path).to_dict().get("per_layer_config") or {}
    return {int(layer): dict(values) for layer, values in told.items()}


def configs(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The config and all configs in it."""
    yield path, config
    for name, value in vars(config).items():
        if is_config(value):
            yield from configs(value, (*path, name))


def is_layered(config: Any) -> bool:
    """Can it say something of single layers? (transformers 5.15 and later)"""
    return hasattr(type(config), "per_layer_config")


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = getattr(config, name)
    return config


def _set(holder: Any, field: Field, value: int | None) -> None:
    setattr(holder, field.name, _with(vars(holder).get(field.name), field, value))


def _with(old: Any, field: Field, value: int | None) -> Any:
    """The new value, alone or in its place in the list."""
    return value if field.index < 0 else type(old)([*old[: field.index], value, *old[field.index + 1 :]])


def is_config(value: Any) -> bool:
    """Is it a config (inside another one, perhaps)?"""
    return hasattr(value, "to_dict") and hasattr(value, "__dict__") and not isinstance(value, type)


__all__ = [
    "Field",
    "Values",
    "changed",
    "configs",
    "fields",
    "give",
    "is_config",
    "is_layered",
    "layers_of",
    "overrides",
    "value_of",
    "without_layers",
]
