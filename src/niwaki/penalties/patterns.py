"""Penalties that let rows and columns compete: few of them keep most of the weight.

A matrix has its rows along dimension 0. Of a convolution's weight, a row is all that one output channel reads, and a
column all that reads one input channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from niwaki.ranks import is_sharded

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

    def terms(self, weight: Tensor) -> Tensor:
        return _exact(weight).square()

    def slopes(self, sums: Tensor, along: int, shape: torch.Size) -> Tensor:
        """One over the norm of every row (column), weighed."""
        return self._weigher(along, shape) * (sums + _TINY).rsqrt()

    def base(self, weight: Tensor) -> Tensor:
        return weight

    def gradient(self, weight: Tensor) -> Tensor:
        squares = self.terms(weight)
        by_row, by_column = (self.slopes(_sums(squares, along), along, weight.shape) for along in (0, 1))
        if is_sharded(squares):
            return (by_row + by_column) * weight
        # In the memory of the squares: a fresh tensor as large as the weight costs more than all the arithmetic.
        return torch.add(by_row.expand_as(squares), by_column, out=squares).mul_(weight)

    def shrink_(self, weight: Tensor, amount: float) -> None:
        """Rows first, then columns. Each is the exact step for its own sum; for both together it is not, since they
        share every weight. A row (column) whose norm is at most the amount becomes exactly zero."""
        for along in (0, 1):
            share = self._lost(_sums(self.terms(weight), along).sqrt(), amount * self._weigher(along, weight.shape))
            # What goes is taken off: one less a small share would be rounded to one.
            weight.sub_(weight * share)

    def _lost(self, norms: Tensor, pull: float) -> Tensor:
        """Which share of each row (column) goes: all of it where the norm is at most the pull."""
        least = torch.finfo(norms.dtype).tiny  # where the norm is 0, all goes, and nothing is 0 / 0
        return norms.clamp(least, pull) / norms.clamp(min=least)

    def _weigher(self, along: int, shape: torch.Size) -> float:
        return math.sqrt(shape.numel() / shape[along]) if self.scaled else 1.0


@dataclass(frozen=True)
class Unevenness:
    """A reward for rows, and columns, that differ: minus the standard deviation of their L1 norms.

    Nothing bounds it from below: it goes on growing with the weights.

    Attributes:
        relative: divide each standard deviation by the mean, which bounds it.
    """

    relative: bool = False

    def terms(self, weight: Tensor) -> Tensor:
        return _exact(weight).abs()

    def slopes(self, sums: Tensor, along: int, shape: torch.Size) -> Tensor:
        """d spread / d norm, of every row (column)."""
        mean, n = sums.mean(), sums.numel()
        deviation = ((sums - mean).square().mean() + _TINY).sqrt()
        slope = (sums - mean) / (n * deviation)
        return (slope - deviation / (mean + _TINY) / n) / (mean + _TINY) if self.relative else slope

    def base(self, weight: Tensor) -> Tensor:
        return -weight.sign()

    def gradient(self, weight: Tensor) -> Tensor:
        terms = self.terms(weight)
        by_row, by_column = (self.slopes(_sums(terms, along), along, weight.shape) for along in (0, 1))
        return self.base(weight) * (by_row + by_column)


def _exact(weight: Tensor) -> Tensor:
    """In float32 at least: half precision overflows in sums."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def _sums(values: Tensor, along: int) -> Tensor:
    """Over all rows (columns), in a shape that broadcasts."""
    return values.sum([d for d in range(values.dim()) if d != along], keepdim=True)
