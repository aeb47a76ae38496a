"""The control that every method must beat."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from niwaki.scores.base import register
from niwaki.units import Group


@register
@dataclass(frozen=True)
class Random:
    """Uniform random worth. The same seed and group name give the same numbers on every machine and rank."""

    seed: int = 0

    def __call__(self, group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
        return self._drawn(group.name, (len(group),))

    def each(self, name: str, weight: Tensor) -> Tensor:
        """Of single weights: one number each."""
        return self._drawn(name, tuple(weight.shape)).to(weight.device)

    def _drawn(self, name: str, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + zlib.crc32(name.encode()))
        return torch.rand(shape, generator=generator)
