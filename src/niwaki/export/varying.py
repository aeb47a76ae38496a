"""Which sizes of an exported model's inputs may vary, by name."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from niwaki.errors import BadInput, nearest

Dynamic = bool | str | Sequence[str] | Mapping[str, Mapping[int, str]]
"""``False``: every size is fixed. ``"batch"``, ``"sequence"`` or both: see :func:`sizes_of`. ``True``: all of these
that the inputs have. A mapping, for any other: name of the input → dimension → name of the size. Sizes of one name are
equal in every call."""

Sizes = dict[str, dict[int, str]]
"""Name of the input → dimension → name of the size that varies there."""

BATCH, SEQUENCE = "batch", "sequence"
_ANY = 2**31
"""A bound that is none."""


def named(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors among a call's arguments, in their order, by the names of the model's parameters; those that lie in a
    tuple, list or dict have its name and their place in it."""
    titles = [*_titles(model, len(args)), *kwargs]
    return titled(titles, [*args, *kwargs.values()])


def titled(titles: Sequence[str], values: Sequence[Any]) -> dict[str, Tensor]:
    """The tensors in values that have names, in their order."""
    found: dict[str, Tensor] = {}
    for title, value in zip(titles, values, strict=True):
        for path, leaf in tree_flatten_with_path(value)[0]:
            if isinstance(leaf, Tensor):
                name = re.sub(r"\W+", "_", title + keystr(path)).strip("_")
                found[name if name not in found else f"{name}_{len(found)}"] = leaf
    return found


def _titles(model: nn.Module, count: int) -> list[str]:
    """Names of a call's first positional arguments."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    found: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return [*found, *(f"{parameter.name}_{k}" for k in range(count - len(found)))][:count]
        found.append(parameter.name)
    return [*found, *(f"input_{k}" for k in range(len(found), count))][:count]


def sizes_of(dynamic: Dynamic, tensors: Mapping[str, Tensor]) -> Sizes:
    """Which dimension of which tensor varies, by name.

    ``"batch"`` is dimension 0 of each tensor that is there as long as most are. ``"sequence"`` is dimension 1 of every
    matrix of whole numbers or truth values (token ids, masks); the sequence of inputs called ``decoder_…`` is one of
    its own, as is that of an input of another length.

    Raises:
        BadInput: no input has such a size, there is no such input or dimension, or ``dynamic`` is of another form.
    """
    if not dynamic:
        return {}
    if isinstance(dynamic, Mapping):
        return _checked(dynamic, tensors)
    tokens = {n: t for n, t in tensors.items() if t.dim() == 2 and not t.is_floating_point()}
    if dynamic is True:
        words: Sequence[str] = (BATCH, SEQUENCE) if tokens else (BATCH,)
    elif isinstance(dynamic, str):
        words = (dynamic,)
    elif isinstance(dynamic, (Sequence, Set)) and all(isinstance(word, str) for word in dynamic):
        words = tuple(dynamic)
    else:
        raise _formless(dynamic)
    found: Sizes = {}
    for word in words:
        if word not in (BATCH, SEQUENCE):
            raise BadInput(
                f"dynamic: {word!r} is none of the known sizes, {BATCH} and {SEQUENCE}"
                f"{nearest(word, (BATCH, SEQUENCE))}. Name dimensions: {{input: {{dimension: name}}}}"
            )
        where = _batches(tensors) if word == BATCH else _sequences(tokens)
        if not where:
            raise BadInput(
                f"dynamic: no input has a {word} ({_told(tensors)}); {{input: {{dimension: name}}}} names any"
            )
        for name, (dim, size) in where.items():
            found.setdefault(name, {})[dim] = size
    return found


def _batches(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, str]]:
    lengths = {name: t.shape[0] for name, t in tensors.items() if t.dim()}
    if not lengths:
        return {}
    (usual, _), *_ = Counter(lengths.values()).most_common(1)
    return {name: (0, BATCH) for name, length in lengths.items() if length == usual}


def _sequences(tokens: Mapping[str, Tensor]) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    lengths: dict[str, int] = {}
    for name, t in tokens.items():
        size = f"decoder_{SEQUENCE}" if name.startswith("decoder_") else SEQUENCE
        if lengths.setdefault(size, t.shape[1]) != t.shape[1]:
            size = f"{SEQUENCE}_of_{name}"
        found[name] = (1, size)
    return found


def _checked(dynamic: Mapping[str, Mapping[int, str]], tensors: Mapping[str, Tensor]) -> Sizes:
    lengths: dict[str, int] = {}
    found = {name: _named_dimensions(dynamic, name) for name in dynamic}
    for name, dims in found.items():
        if name not in tensors:
            raise BadInput(f"dynamic: no input is called {name!r}{nearest(name, tensors)}; there are {_told(tensors)}")
        for dim, size in dims.items():
            if not 0 <= dim < tensors[name].dim():
                raise BadInput(f"dynamic: {name!r} has no dimension {dim}; there are {_told(tensors)}")
            if not size.isidentifier():
                raise BadInput(f"dynamic: {size!r} is no name for a size; use letters, digits and _")
            length = tensors[name].shape[dim]
            if lengths.setdefault(size, length) != length:
                raise BadInput(f"dynamic: {size!r} is {lengths[size]} and {length} in these inputs; give it two names")
    return found


def _named_dimensions(dynamic: Mapping[Any, Any], name: Any) -> dict[int, str]:
    """What is said of one input; a ``Dim`` of torch.export is called as it calls itself."""
    dims = dynamic[name]
    if not isinstance(name, str) or not isinstance(dims, Mapping):
        raise _formless(dynamic)
    found: dict[int, str] = {}
    for dim, size in dims.items():
        called = size if isinstance(size, str) else getattr(size, "__name__", None)
        if type(dim) is not int or not isinstance(called, str):
            raise _formless(dynamic)
        if getattr(size, "min", 0) > 2 or getattr(size, "max", _ANY) < _ANY:
            raise BadInput(f"dynamic: {called!r} has bounds, which would be lost; leave out its min and max")
        found[dim] = called
    return found


def _formless(dynamic: object) -> BadInput:
    return BadInput(
        f"dynamic is False, True, {BATCH!r}, {SEQUENCE!r}, both, or {{input: {{dimension (a whole number): name}}}}, "
        f"not {dynamic!r}"
    )


def _told(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())


def long_enough(sizes: Sizes, tensors: Mapping[str, Tensor], values: Any) -> Any:
    """The arguments with every size that varies at least 2: torch.export takes one of 1 for a fixed one.

    Raises:
        BadInput: one is 0.
    """
    grown: dict[int, Tensor] = {}
    for name, dims in sizes.items():
        t = tensors[name]
        for dim in dims:
            if t.shape[dim] == 0:
                raise BadInput(f"dynamic: {name!r} is empty in dimension {dim}; give inputs with something in them")
            t = t.repeat_interleave(2, dim) if t.shape[dim] == 1 else t
        grown[id(tensors[name])] = t
    return tree_map(lambda leaf: grown.get(id(leaf), leaf) if isinstance(leaf, Tensor) else leaf, values)


def dimensions(sizes: Sizes) -> dict[str, dict[int, Any]]:
    """The same in torch.export's terms: one ``Dim`` a name."""
    dims = {size: torch.export.Dim(size) for of in sizes.values() for size in of.values()}
    return {name: {dim: dims[size] for dim, size in of.items()} for name, of in sizes.items()}


__all__ = ["Dynamic", "Sizes", "dimensions", "long_enough", "named", "sizes_of", "titled"]
