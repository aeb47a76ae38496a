"""What a config says of a cut model whose layers it has no fields for: ``quantization_config``, read and written.

``transformers`` builds the dense model from the other fields; what is said here makes the cut one of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from niwaki.errors import BrokenFile
from niwaki.units import Axis

METHOD, VERSION = "niwaki", 1
NOTE = "This model was cut to layers of different sizes. Run `import niwaki` before from_pretrained."
_ATTRIBUTE = re.compile(r"(config\.)?[A-Za-z][A-Za-z0-9_]*")
_KEYS = {"quant_method", "note", "version", "model", "tensors", "numbers", "tables", "refused"}

Place = tuple[str, str]
"""Module name and attribute; ``config.NAME`` for a number in the config that this module holds."""
Number = int | tuple[int, ...]


@dataclass(frozen=True)
class Uneven:
    """How the cut model differs from the one that stock code builds.

    ``model``: its class. ``tensors``: shapes of saved tensors that lost entries. ``numbers``: whole numbers of modules,
    or tuples of them, as they are after the cut. ``tables``: of tensors that the class computes and nobody saves, the
    indices that went. ``refused``: why ``from_pretrained`` cannot load this model; the rest is empty then.
    """

    model: str
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: Mapping[Place, Number] = field(default_factory=dict)
    tables: Mapping[Axis, tuple[int, ...]] = field(default_factory=dict)
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``config.json``."""
        said: dict[str, Any] = {"quant_method": METHOD, "note": NOTE, "version": VERSION, "model": self.model}
        if self.refused:
            return {**said, "note": "Load this folder with nk.load.", "refused": self.refused}
        numbers: dict[str, dict[str, Any]] = {}
        for (module, attribute), value in self.numbers.items():
            numbers.setdefault(module, {})[attribute] = list(value) if isinstance(value, tuple) else value
        tensors = {name: list(shape) for name, shape in self.tensors.items()}
        tables = [{"tensor": axis.name, "dim": axis.dim, "removed": list(gone)} for axis, gone in self.tables.items()]
        return {**said, "tensors": tensors, "numbers": numbers, "tables": tables}

    @staticmethod
    def from_json(data: Any) -> Uneven:
        """What ``data`` says; anything malformed is a :class:`BrokenFile`."""
        try:
            return _from_json(data)
        except (KeyError, TypeError, AttributeError, ValueError) as trouble:
            told = f"lacks {trouble}" if isinstance(trouble, KeyError) else str(trouble)
            raise BrokenFile(f"the quantization_config of this config.json is not usable: {told}") from trouble


def is_ours(said: Any) -> bool:
    """Is this a ``quantization_config`` of niwaki's?"""
    return isinstance(said, Mapping) and said.get("quant_method") == METHOD


def _from_json(data: Any) -> Uneven:
    if not is_ours(data):
        raise ValueError(f"its quant_method is not {METHOD!r}")
    if data.get("version") != VERSION:
        raise ValueError(f"version {data.get('version')!r} is not {VERSION}; it needs another release of niwaki")
    unknown = sorted(data.keys() - _KEYS)
    if unknown:
        raise ValueError(f"it has a key {unknown[0]!r} that version {VERSION} does not have")
    if "refused" in data:
        return Uneven(_text(data["model"]), refused=_text(data["refused"]) or "no reason is given")
    tensors = {str(name): _sizes(shape, f"the shape of {name!r}") for name, shape in data["tensors"].items()}
    if not tensors:
        raise ValueError("it names no tensor that was cut")
    return Uneven(_text(data["model"]), tensors, dict(_numbers(data["numbers"])), dict(_tables(data["tables"])))


def _numbers(said: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Place, Number]]:
    for module, values in said.items():
        for attribute, value in values.items():
            if not _ATTRIBUTE.fullmatch(attribute):
                raise ValueError(f"it sets {attribute!r} of module {module!r}, which is no attribute's name")
            name = f"{module}.{attribute}"
            yield (module, attribute), _sizes(value, name) if isinstance(value, list) else _size(value, name)


def _tables(said: Any) -> Iterator[tuple[Axis, tuple[int, ...]]]:
    for row in said:
        axis, gone = Axis(_text(row["tensor"]), row["dim"]), row["removed"]
        whole = all(type(n) is int and n >= 0 for n in [axis.dim, *gone])
        if not whole or not gone or gone != sorted(set(gone)):
            raise ValueError(f"what it removes of {axis.name!r} must be whole numbers that ascend without repeats")
        yield axis, tuple(gone)


def _sizes(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{what} must be a list of whole numbers, found {value!r}")
    return tuple(_size(n, what) for n in value)


def _size(value: Any, what: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{what} must hold whole numbers of at least 1, found {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {value!r}")
    return value


__all__ = ["METHOD", "VERSION", "Number", "Place", "Uneven", "is_ours"]
