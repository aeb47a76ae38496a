"""A network of two layers as two matrices: what is lost when hidden units go, and what least squares wins back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from niwaki.errors import BadInput


@dataclass(frozen=True, eq=False)
class TwoLayer:
    """The hidden activations ``H`` and the weights ``W1`` of the layer that takes them (paper, section 2).

    The output is ``U = W1 H``. If only the units ``S`` stay it is ``U_S = W1[:, S] H[S]``, and the residual is
    ``V = U - U_S``.

    Attributes:
        hidden: H, units x samples. second: W1, outputs x units.

    Raises:
        BadInput: they are no matrices, do not fit, are empty, or are not finite.
    """

    hidden: Tensor
    second: Tensor

    def __post_init__(self) -> None:
        if self.hidden.dim() != 2 or self.second.dim() != 2 or self.second.shape[1] != len(self.hidden):
            raise BadInput(
                "a two-layer model is H (units x samples) and W1 (outputs x units), not "
                f"{tuple(self.hidden.shape)} and {tuple(self.second.shape)}"
            )
        if not self.hidden.numel() or not self.second.numel():
            raise BadInput("there must be at least one unit, one sample and one output")
        if not (torch.isfinite(self.hidden).all() and torch.isfinite(self.second).all()):
            raise BadInput("the activations or the weights hold inf or nan")

    @property
    def units(self) -> int:
        """How many hidden units there are."""
        return len(self.hidden)

    @property
    def mass(self) -> Tensor:
        """``mu(H)``, the sum over samples of each unit: (units,)."""
        return self.hidden.sum(1)

    @property
    def output(self) -> Tensor:
        """``U``, outputs x samples."""
        return self.second @ self.hidden

    def missing(self, kept: Tensor) -> Tensor:
        """``V``, outputs x samples: what the units that go would have added.

        It is summed over the units that go, and not taken as a difference, so that it keeps its digits when small.

        Args:
            kept: numbers of the units that stay.
        """
        gone = ~members(kept, self.units)
        return self.second[:, gone] @ self.hidden[gone]

    def residual(self, kept: Tensor, second: Tensor | None = None) -> float:
        """``||V||_F^2``, with the weights ``second`` (outputs x kept) of the units that stay, or else their own."""
        left = self.missing(kept)
        if second is not None:
            left = left - (second - self.second[:, kept]) @ self.hidden[kept]
        return float(left.square().sum())

    def compensated(self, kept: Tensor, ridge: float = 0.0) -> Tensor:
        """Weights of the units that stay that make up for those that go: outputs x kept. See `compensate`."""
        members(kept, self.units)
        return compensate(self.second[:, kept], self.hidden[kept], self.missing(kept), ridge)


def compensate(second: Tensor, hidden: Tensor, missing: Tensor, ridge: float = 0.0) -> Tensor:
    """The weights ``W`` with the least ``||V - (W - W1_S) H_S||_F^2 + r ||W - W1_S||_F^2``.

    This is the least-squares step that CoSaMP (Needell and Tropp 2009, section 2) has and i-SpaSP leaves out. With
    ``r = 0`` it is the best that these units can do on these samples. With a large ``r`` nothing changes.

    Args:
        second: W1_S, outputs x kept. hidden: H_S, kept x samples. missing: V, outputs x samples.
        ridge: ``r`` over the mean squared norm of a row of H_S, 0 or more. Above 0 it keeps the change small where the
            samples say little, which new samples are thankful for.

    Returns:
        outputs x kept, computed in float64, in the type of ``second``.

    Raises:
        BadInput: a ridge that is negative or no number.
    """
    if not 0 <= ridge < float("inf"):
        raise BadInput(f"a ridge is 0 or more, not {ridge}")
    rows, left = hidden.double(), missing.double()
    if ridge == 0:
        # The minimum of least norm, of any rank: dead units get no change.
        change = left @ torch.linalg.pinv(rows)
    else:
        gram = rows @ rows.T
        weight = ridge * float(gram.diagonal().mean())
        gram.diagonal().add_(weight or 1.0)  # all units that stay are dead: nothing to fit, whatever the weight
        change = torch.cholesky_solve(rows @ left.T, torch.linalg.cholesky(gram)).T
    return second + change.to(second.dtype)


def members(kept: Tensor, units: int) -> Tensor:
    """A bool mask (units,) of the numbers in ``kept``.

    Raises:
        BadInput: they are no whole numbers, out of range, or one is there twice.
    """
    if kept.dim() != 1 or kept.dtype != torch.int64:
        raise BadInput(f"the units that stay are a row of int64 numbers, not {kept.dtype} {tuple(kept.shape)}")
    mask = torch.zeros(units, dtype=torch.bool)
    if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < units:
        raise BadInput(f"units are numbered 0 to {units - 1}; found {int(kept.min())} to {int(kept.max())}")
    mask[kept.cpu()] = True
    if int(mask.sum()) != len(kept):
        raise BadInput("a unit is there twice among those that stay")
    return mask.to(kept.device)


__all__ = ["TwoLayer", "compensate", "members"]
