"""Entries of tensors that stay, and others that are made zero, by their bits."""

from __future__ import annotations

import torch
from torch import Tensor

from niwaki.ranks import local

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By their size in bytes."""


class Kept:
    """Which entries stay as they are; the others are made zero, whatever they are. (A product with zero would not do:
    an optimizer without an epsilon makes 0 / 0 of a weight that has no gradient.)"""

    def __init__(self, gone: Tensor) -> None:
        self._gone = local(gone)
        self._bits: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def only_(self, held: Tensor) -> None:
        """Zero the others in a tensor of the same shape."""
        if held.is_complex():
            held.masked_fill_(self._gone.to(held.device), 0)
        else:
            bits = self._bits_for(held)
            held.view(bits.dtype).bitwise_and_(bits)

    def of(self, gradient: Tensor) -> Tensor:
        """A tensor of the same shape in which the others are zero."""
        if gradient.is_complex():
            return gradient.masked_fill(self._gone.to(gradient.device), 0)
        bits = self._bits_for(gradient)
        return (gradient.view(bits.dtype) & bits).view(gradient.dtype)

    def _bits_for(self, held: Tensor) -> Tensor:
        """All bits of what stays, and none of the others: as quick as a product, where a fill takes many times as long.
        Made once for each type and device: a model may be moved while it trains."""
        key = held.device, _INTEGERS[held.element_size()]
        if key not in self._bits:
            self._bits[key] = self._gone.to(held.device).to(key[1]) - 1
        return self._bits[key]


__all__ = ["Kept"]
