"""The sums over single weights: of squares, and of absolute values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ridge:
    """``½ λ w²``: gradient ``λ w``, on top of the optimizer's own weight decay (GReg, Eq. 2 and the official code)."""

    def gradient(self, weight: Tensor) -> Tensor:
        return weight

    def shrink_(self, weight: Tensor, amount: float) -> None:
        """``w / (1 + amount)``: smaller, never zero."""
        weight.div_(1 + amount)


@dataclass(frozen=True)
class Lasso:
    """``λ |w|``: gradient ``λ sign(w)`` (Tibshirani 1996)."""

    def gradient(self, weight: Tensor) -> Tensor:
        return weight.sign()

    def shrink_(self, weight: Tensor, amount: float) -> None:
        """Soft thresholding: what is within ``amount`` of zero is zero."""
        weight.copy_(weight.sign() * torch.relu(weight.abs() - amount))
