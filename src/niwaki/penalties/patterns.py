"""Penalties that let rows and columns compete: few of them keep most of the weight.

A matrix has its rows along dimension 0. Of a convolution's weight, a row is all that one output channel reads, and a
column all that reads one input channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12
"""Added under square roots, so that the gradient of an empty row is 0 and not 0 / 0."""


@dataclass(frozen=True)
class RowColumn:
    """Group lasso over rows and over columns: the sum of their Euclidean norms (Yuan and Lin 2006, with groups that
    overlap)::

        Σ_i sqrt(ε + Σ_j w_ij²)  +  Σ_j sqrt(ε + Σ_i w_ij²)

    A long row is pressed no harder than a short one, and so its weights less: the strong stay, the weak fade.

    Attributes:
        scaled: weigh every norm by the square root of how many weights it is of, so that matrices of unlike shapes are
            pressed alike.
    """

    scaled: bool = False

    def gradient(self, weight: Tensor) -> Tensor:
        by_row, by_column = (self._weigher(weight, along) / _lengths(weight, along) for along in (0, 1))
        return weight * (by_row + by_column)

    def shrink_(self, weight: Tensor, amount: float) -> None:
        """Rows first, then columns. Each is the exact step for its own sum; for both together it is not, since they
        share every weight."""
        for along in (0, 1):
            weight.mul_(torch.relu(1 - amount * self._weigher(weight, along) / _lengths(weight, along)))

    def _weigher(self, weight: Tensor, along: int) -> float:
        return math.sqrt(weight.numel() / weight.shape[along]) if self.scaled else 1.0


@dataclass(frozen=True)
class Unevenness:
    """A reward for rows, and columns, that differ: minus the standard deviation of their L1 norms.

    Nothing bounds it from below: it goes on growing with the weights.

    Attributes:
        relative: divide each standard deviation by the mean, which bounds it.
    """

    relative: bool = False

    def gradient(self, weight: Tensor) -> Tensor:
        return -weight.sign() * (self._along(weight, 0) + self._along(weight, 1))

    def _along(self, weight: Tensor, along: int) -> Tensor:
        """d spread / d norm, of every row (column), in a shape that broadcasts."""
        norms = _norms(weight, along, 1)
        mean, n = norms.mean(), norms.numel()
        deviation = ((norms - mean).square().mean() + _TINY).sqrt()
        slope = (norms - mean) / (n * deviation)
        return (slope - deviation / (mean + _TINY) / n) / (mean + _TINY) if self.relative else slope


def _lengths(weight: Tensor, along: int) -> Tensor:
    """Euclidean norms of all rows (columns), never zero."""
    return (_norms(weight, along, 2).square() + _TINY).sqrt()


def _norms(weight: Tensor, along: int, order: int) -> Tensor:
    """Of all rows (columns), in float32 at least and in a shape that broadcasts."""
    exact = torch.promote_types(weight.dtype, torch.float32)
    others = [d for d in range(weight.dim()) if d != along]
    return torch.linalg.vector_norm(weight, order, dim=others, keepdim=True, dtype=exact)
