"""Magnitude: the norm of the weights that make a unit (Li et al. 2017; Han et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from niwaki.scores.base import register, sum_per_unit
from niwaki.units import Group


@register
@dataclass(frozen=True)
class L1:
    """Mean absolute weight of a unit: ``mean |w|`` over the filters (rows, heads) that make it.

    The mean, not the sum, so that groups of unlike filter sizes can be compared; within one layer the order is that of
    the L1 norm. GReg's code scores filters the same way.
    """

    def __call__(self, group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
        total, count = sum_per_unit(group, tensors, Tensor.abs)
        return total / count

    def each(self, name: str, weight: Tensor) -> Tensor:
        """Of single weights: ``|w|`` (Han et al. 2015)."""
        return weight.abs()


@register
@dataclass(frozen=True)
class L2:
    """Root mean square weight of a unit; within one layer the order is that of the L2 norm."""

    def __call__(self, group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
        total, count = sum_per_unit(group, tensors, Tensor.square)
        return (total / count).sqrt()

    def each(self, name: str, weight: Tensor) -> Tensor:
        """Of single weights: ``|w|`` too."""
        return weight.abs()
