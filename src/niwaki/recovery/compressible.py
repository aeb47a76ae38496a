"""Matrices of few heavy rows: how fast their mass falls, and made-up ones in which it falls as one likes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from niwaki.errors import BadInput


@dataclass(frozen=True)
class Compressibility:
    """The i-th largest ``|mu(H)|`` is at most ``magnitude * i ** (-1 / p)`` (paper, section 5).

    Attributes:
        p: above 0; the smaller, the closer to a few rows. magnitude: R, the least that holds for this p.
    """

    p: float
    magnitude: float


def magnitude(hidden: Tensor, p: float) -> float:
    """The least R with which ``hidden`` (units x samples) is p-row-compressible: ``max_i i^(1/p) |mu|_(i)``."""
    masses = _masses(hidden)
    places = torch.arange(1, len(masses) + 1, dtype=torch.float64)
    return float((masses * places ** (1 / _checked(p))).max())


def compressibility(hidden: Tensor) -> Compressibility:
    """p from the slope of ``log |mu|_(i)`` over ``log i`` by least squares, and the R that goes with it.

    Units without mass are left out of the fit.

    Raises:
        BadInput: fewer than two units have mass, or the mass does not fall.
    """
    masses = _masses(hidden)
    masses = masses[masses > 0]
    if len(masses) < 2:
        raise BadInput(f"a slope needs two units with mass; there are {len(masses)}")
    x = torch.arange(1, len(masses) + 1, dtype=torch.float64).log()
    fall = -slope(x, masses.log())
    if fall <= 0:
        raise BadInput("all units have the same mass: no p describes how it falls")
    return Compressibility(1 / fall, magnitude(hidden, 1 / fall))


def slope(x: Tensor, y: Tensor) -> float:
    """Of the straight line through the points by least squares."""
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def compressible(p: float, units: int, samples: int = 100, *, magnitude: float = 1.0, seed: int = 0) -> Tensor:
    """A random p-row-compressible matrix without negative entries: units x samples, float64 (appendix A.1).

    Row j, counted from 1, may spend ``magnitude * j ** (-1 / p)``. Its entries are drawn one after another, each
    uniform between 0 and what the row has left. At the end the rows are shuffled.

    Raises:
        BadInput: a number out of range.
    """
    if units < 1 or samples < 1 or not 0 < magnitude < float("inf"):
        raise BadInput(f"units, samples and magnitude are above 0, not {units}, {samples} and {magnitude}")
    generator = torch.Generator().manual_seed(seed)
    left = magnitude * torch.arange(1, units + 1, dtype=torch.float64) ** (-1 / _checked(p))
    columns = []
    for _ in range(samples):
        spent = left * torch.rand(units, dtype=torch.float64, generator=generator)
        left = left - spent
        columns.append(spent)
    return torch.stack(columns, 1)[torch.randperm(units, generator=generator)]


def _masses(hidden: Tensor) -> Tensor:
    """``|mu|``, largest first."""
    if hidden.dim() != 2:
        raise BadInput(f"hidden activations are a matrix, units x samples, not {tuple(hidden.shape)}")
    return hidden.double().sum(1).abs().sort(descending=True).values


def _checked(p: float) -> float:
    if not 0 < p < float("inf"):
        raise BadInput(f"p is above 0, not {p}")
    return p


__all__ = ["Compressibility", "compressibility", "compressible", "magnitude", "slope"]
