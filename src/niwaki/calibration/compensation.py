"""Least squares for the layer that takes the units: what the removed ones gave, made of the kept ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from niwaki.calibration.second import Second
from niwaki.errors import BadInput
from niwaki.ranks import whole

logger = logging.getLogger("niwaki")


@dataclass(eq=False)
class Moments:
    """Of the rows that a layer's matrix is applied to: ``sum h h'``, ``sum h``, and how many; float64."""

    products: Tensor = field(default_factory=lambda: torch.zeros(0))
    total: Tensor = field(default_factory=lambda: torch.zeros(0))
    count: int = 0

    def add(self, rows: Iterable[Tensor]) -> None:
        """Add some more rows. Shape: (many, columns)."""
        for piece in rows:
            products, total = piece.t() @ piece, piece.sum(0)
            self.products = products if self.count == 0 else self.products + products
            self.total = total if self.count == 0 else self.total + total
            self.count += len(piece)

    @staticmethod
    def joined(several: Sequence[Moments]) -> Moments:
        """The moments of all rows together."""
        first, *others = several
        products, total, count = first.products, first.total, first.count
        for other in others:
            products, total, count = products + other.products, total + other.total, count + other.count
        return Moments(products, total, count)

    def centred(self) -> Tensor:
        """``sum (h - mean)(h - mean)'``."""
        return self.products - torch.outer(self.total, self.total) / self.count


def compensated(group: str, calls: Sequence[Second], moments: Moments, kept: Tensor, ridge: float) -> dict[str, Tensor]:
    """``W1' = argmin ||W1 H - W1' H_S||² + λ ||W1' - W1_S||²``, and the constant that goes with it.

    The ridge draws towards the weights as they are, so that the squared error of the layer's outputs never rises; ``λ``
    is ``ridge`` times the mean second moment of an input. A column of zeros stays one: it is that of a unit that is
    masked already, whose activation need not be zero. The constant goes to the bias, or to the running mean of the
    batch norm that is behind the layer and behind no other; where there is neither, the fit has none.

    Args:
        calls: of one weight, the second part of each call. kept: bool per unit. ridge: above 0; as a share of the mean
            second moment.

    Returns:
        New values by tensor name (removed columns keep theirs: they are masked); none where the layer has taken nothing
        (an expert that no sample was sent to).

    Raises:
        BadInput: the layer's weight is computed from other tensors.
    """
    second = calls[0]
    require_plain(group, second, "compensation")
    if not moments.count:
        logger.warning(
            "group %r: %r was given nothing on these samples, so that it is not fitted: look at more of them",
            group, second.taker.path,
        )  # fmt: skip
        return {}
    matrix, taker = second.matrix(), second.taker
    constants = _constants(calls)
    products = moments.centred() if constants else moments.products
    goes = taker.spread(~kept, 0.0).repeat_interleave(second.repeats()).bool().to(matrix.device)
    stays = ~goes & matrix.any(0)
    change = _solved(products, matrix, stays, goes, ridge)
    fitted = matrix.clone()
    fitted[:, stays] += change
    found = {taker.weight: second.as_weight(fitted)}
    if constants:
        mean = moments.total / moments.count
        shift = matrix[:, goes] @ mean[goes] - change @ mean[stays]
        found |= {name: whole(old.detach()).double() + sign * shift for name, (old, sign) in constants.items()}
    return found


def _constants(calls: Sequence[Second]) -> dict[str, tuple[Tensor, int]]:
    """The tensors that take a constant, with its sign; none where not every call has a place for it."""
    biases: list[Any] = [getattr(second.taker.module, "bias", None) for second in calls]
    if all(bias is not None for bias in biases):
        return {f"{s.taker.path}.bias".lstrip("."): (b, 1) for s, b in zip(calls, biases, strict=True)}
    norm: Any = calls[0].norm
    one = norm is not None and all(second.norm is norm and second.alone for second in calls)
    if one and all(bias is None for bias in biases):
        return {f"{calls[0].norm_path}.running_mean".lstrip("."): (norm.running_mean, -1)}
    return {}


def _solved(products: Tensor, matrix: Tensor, stays: Tensor, goes: Tensor, ridge: float) -> Tensor:
    """``W_R C_RS (C_SS + λ I)^-1``: what is added to the kept columns."""
    among, across = products[stays][:, stays], products[goes][:, stays]
    level = float(among.diagonal().mean()) if len(among) else 0.0
    if level <= 0:
        return torch.zeros_like(matrix[:, stays])
    among = among + ridge * level * torch.eye(len(among), dtype=among.dtype, device=among.device)
    factor, failed = torch.linalg.cholesky_ex(among)
    right = (matrix[:, goes] @ across).t()
    if int(failed):
        return torch.linalg.lstsq(among, right).solution.t()
    return torch.cholesky_solve(right, factor).t()


def require_plain(group: str, second: Second, what: str) -> None:
    """Raise :class:`BadInput` where the weight cannot be written."""
    if second.taker.tied:
        raise BadInput(
            f"{what} of group {group!r} needs to write the weight of {second.taker.path!r}, which makes the units too "
            f"(tied embeddings) and would make others then: do without, or leave the group out (skip={group!r})"
        )
    if "weight" not in second.taker.module._parameters:
        raise BadInput(
            f"{what} of group {group!r} needs to write the weight of {second.taker.path!r}, which is computed "
            "from other tensors: make it plain first (torch.nn.utils.parametrize.remove_parametrizations)"
        )


__all__ = ["Moments", "compensated", "require_plain"]
