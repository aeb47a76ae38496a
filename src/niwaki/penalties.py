"""How do we press? A penalty gives the gradient that it adds to a weight, before its factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Penalty(Protocol):
    """A penalty on chosen units. Its gradient is added to the final (clipped) gradient, times the schedule's factor."""

    def gradient(self, weight: Tensor) -> Tensor:
        """d penalty / d weight, in the shape of ``weight``."""
        ...


@dataclass(frozen=True)
class Ridge:
    """``½ λ w²``: gradient ``λ w``, on top of the optimizer's own weight decay (GReg, Eq. 2 and the official code)."""

    def gradient(self, weight: Tensor) -> Tensor:
        return weight
