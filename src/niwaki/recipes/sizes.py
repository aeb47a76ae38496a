"""Which sizes of an exported network's inputs may vary: what a recipe's key ``dynamic`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes import checks

KNOWN = ("batch", "sequence")
Sizes = bool | str | tuple[str, ...] | Mapping[str, Mapping[int, str]]
"""As ``dynamic`` of :func:`niwaki.export.onnx` takes it."""


def read_dynamic(value: Any) -> Sizes:
    """``true``, ``batch``, ``sequence``, a list of both, or a mapping: input → dimension → name of the size."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return checks.one_of("dynamic", value, KNOWN)
    if isinstance(value, (list, tuple)):
        return tuple(dict.fromkeys(checks.one_of("dynamic", word, KNOWN) for word in value)) or False
    if isinstance(value, Mapping):
        return {_input(name): _dimensions(f"dynamic.{name}", dims) for name, dims in value.items()}
    raise BadInput(
        f"dynamic must be true, batch, sequence, a list of both, or a mapping such as {{pixels: {{0: batch}}}}; found "
        f"{value!r}"
    )


def dynamic_json(sizes: Sizes) -> Any:
    """Plain data from which :func:`read_dynamic` makes the same; None where nothing varies."""
    if isinstance(sizes, Mapping):
        return {name: {str(dim): size for dim, size in dims.items()} for name, dims in sizes.items()}
    return list(sizes) if isinstance(sizes, tuple) else sizes or None


def _input(name: Any) -> str:
    if not isinstance(name, str):
        raise BadInput(f"dynamic names an input first, and then its dimensions: {{input: {{{name}: batch}}}}")
    return name


def _dimensions(where: str, dims: Any) -> dict[int, str]:
    if not isinstance(dims, Mapping) or not dims:
        raise BadInput(f"{where} must be a mapping of dimensions to names of sizes, such as {{0: batch}}, not {dims!r}")
    return {_dimension(where, dim): _size(f"{where}.{dim}", size) for dim, size in dims.items()}


def _dimension(where: str, dim: Any) -> int:
    """JSON has only words for keys."""
    if isinstance(dim, str) and dim.isascii() and dim.isdecimal():
        return int(dim)
    return checks.whole(f"{where}: a dimension", dim, 0)


def _size(where: str, size: Any) -> str:
    if not isinstance(size, str) or not size.isidentifier():
        raise BadInput(f"{where} must be a name for a size, of letters, digits and _, not {size!r}")
    return size


__all__ = ["Sizes", "dynamic_json", "read_dynamic"]
