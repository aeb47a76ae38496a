"""How a law says that it does not hold, and how tensors are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class LawBroken(AssertionError):
    """A law does not hold; the message says which, where and by how much."""


def demand(holds: bool, message: str) -> None:
    """Raise :class:`LawBroken` with ``message`` unless ``holds``."""
    if not holds:
        raise LawBroken(message)


@contextmanager
def attempting(what: str) -> Iterator[None]:
    """Any error inside breaks the law: what a law asks for must at least be possible."""
    try:
        yield
    except LawBroken:
        raise
    except Exception as trouble:
        raise LawBroken(f"{what} failed: {type(trouble).__name__}: {trouble}") from trouble


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal to the last bit, NaN for NaN."""
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(_bits(one), _bits(other))


def _bits(value: Tensor) -> Tensor:
    # A copy, because a view as bytes needs the elements side by side.
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def worst_difference(reference: Sequence[Tensor], found: Sequence[Tensor], *, shared_scale: bool = False) -> float:
    """The largest absolute difference, relative to the largest value of its reference tensor.

    ``shared_scale``: relative to the largest value of all of them, as fits gradients, where one that should vanish has
    no scale of its own. Tensors that cannot be compared (shapes, NaN) are infinitely far apart.
    """
    if [t.shape for t in reference] != [t.shape for t in found]:
        return float("inf")
    pairs = [(a.double().cpu(), b.double().cpu()) for a, b in zip(reference, found, strict=True) if a.numel()]
    if not all(bool(a.isfinite().all()) and bool(b.isfinite().all()) for a, b in pairs):
        return float("inf")
    scales = [float(a.abs().max()) for a, _ in pairs]
    if shared_scale:
        scales = [max(scales, default=0.0)] * len(pairs)
    gaps = [float((a - b).abs().max()) for a, b in pairs]
    return max((gap / (scale or 1.0) for gap, scale in zip(gaps, scales, strict=True)), default=0.0)


def first_difference(one: Any, other: Any, path: str = "") -> str | None:
    """Where two trees of plain data and tensors first differ, bit for bit; None if nowhere."""
    where = path or "the whole"
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return None if same_bits(one, other) else where
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if list(one) != list(other):
            return f"the keys of {where}"
        return _in_items(one, other, path)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f"the length of {where}"
        return _in_items(dict(enumerate(one)), dict(enumerate(other)), path)
    return None if type(one) is type(other) and (one == other or (one != one and other != other)) else where


def _in_items(one: Mapping[Any, Any], other: Mapping[Any, Any], path: str) -> str | None:
    found = (first_difference(one[key], other[key], f"{path}[{key!r}]") for key in one)
    return next((place for place in found if place is not None), None)
