"""Movement: has training moved a weight away from zero, or towards it? (Sanh, Wolf and Rush 2020)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.scores.base import register
from niwaki.units import Group


@register
@dataclass(frozen=True)
class Movement:
    """Of single weights: ``- Σ g w`` over the steps of a run, with the gradient g of the loss (their Eq. 3, but for the
    learning rate, which is the same for all).

    Where it is large, the weight has been growing away from zero. It is summed by :class:`niwaki.Pruning`, so that a
    choice by it needs steps of training before it; weights of a tensor that no gradient has reached yet all stay.
    """

    watches: ClassVar[bool] = True

    def __call__(self, group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
        raise BadInput("nk.scores.Movement is of single weights; set of='weights', or score units by nk.scores.L1")

    def each(self, name: str, moved: Tensor) -> Tensor:
        """What has been summed up for every weight."""
        return moved.float()
