"""The control that every method must beat."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.ranks import as_part, is_sharded, local, numbers, part
from niwaki.scores.base import register
from niwaki.units import Group

LARGEST = 2**43
"""Of seeds: many are made of one, and a generator takes 64 bits."""


def check_seed(seed: object) -> None:
    """Raise :class:`BadInput` unless it is a whole number that a generator can take."""
    if type(seed) is not int or abs(seed) > LARGEST:
        raise BadInput(f"seed must be a whole number (of at most 2**43), not {seed!r}")


@register
@dataclass(frozen=True)
class Random:
    """Uniform random worth. The same seed and group name give the same numbers on every machine and rank."""

    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def __call__(self, group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
        return self._drawn(group.name, (len(group),))

    def each(self, name: str, weight: Tensor) -> Tensor:
        """Of single weights: one number each."""
        if is_sharded(weight):
            mine = torch.cat([torch.empty(0, *local(weight).shape[1:]), *self._rows(name, weight)])
            return as_part(mine.to(local(weight).device), weight)
        return self._drawn(name, tuple(weight.shape)).to(weight.device)

    def _rows(self, name: str, weight: Tensor) -> Iterator[Tensor]:
        """The rows that this rank holds of what one process would draw, row by row, so that nobody holds all."""
        generator, held = self._generator(name), set(numbers(weight, 0).tolist())
        for row in range(weight.shape[0]):
            drawn = torch.rand((1, *weight.shape[1:]), generator=generator)
            if row in held:
                yield part(drawn, weight)

    def _drawn(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._generator(name))

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + zlib.crc32(name.encode()))
