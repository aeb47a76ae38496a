"""The numbers in a config, one by one: where each is, how to read it and how to change it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    """A number in a config: ``path`` leads to the config inside configs, ``index`` into a list of numbers."""

    path: tuple[str, ...]
    name: str
    index: int = -1

    def __str__(self) -> str:
        return ".".join([*self.path, self.name]) + (f"[{self.index}]" if self.index >= 0 else "")


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
        holder = fresh
        for name in field.path:
            holder = getattr(holder, name)
        if field.index < 0:
            setattr(holder, field.name, value)
        else:
            old = vars(holder)[field.name]
            setattr(holder, field.name, type(old)([*old[: field.index], value, *old[field.index + 1 :]]))
    return fresh


def is_config(value: Any) -> bool:
    """Is it a config (inside another one, perhaps)?"""
    return hasattr(value, "to_dict") and hasattr(value, "__dict__") and not isinstance(value, type)


__all__ = ["Field", "Values", "changed", "fields", "is_config"]
