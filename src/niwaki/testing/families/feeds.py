"""What a family eats: makers of small seeded inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from niwaki.testing.zoo.nursery import seeded

VOCABULARY = 37
"""Of every tiny language model here: a prime, so that no other axis is as long by accident."""

Feed = Callable[[], Any]
Maker = Callable[[], Tensor]


def keywords(**makers: Maker) -> Feed:
    """Give a maker of keyword arguments."""
    return partial(seeded, partial(_collect, makers))


def ids(batch: int = 2, length: int = 7, vocabulary: int = VOCABULARY) -> Maker:
    """Give a maker of sentences that hold no special token: those are the first three in every tiny vocabulary."""
    return partial(torch.randint, 3, vocabulary, (batch, length))


def floats(*shape: int) -> Maker:
    """Give a maker of one normal tensor."""
    return partial(torch.randn, shape)


def tokens(batch: int = 2, length: int = 7, vocabulary: int = VOCABULARY) -> Feed:
    """Give a maker of ``input_ids``."""
    return keywords(input_ids=ids(batch, length, vocabulary))


def pixels(batch: int = 2, size: int = 32) -> Feed:
    """Give a maker of ``pixel_values``: square pictures in colour."""
    return keywords(pixel_values=floats(batch, 3, size, size))


def positional(*makers: Maker) -> Feed:
    """Give a maker of positional arguments."""
    return partial(seeded, partial(_line_up, makers))


def _collect(makers: dict[str, Maker]) -> dict[str, Tensor]:
    return {name: make() for name, make in makers.items()}


def _line_up(makers: tuple[Maker, ...]) -> tuple[Tensor, ...]:
    return tuple(make() for make in makers)


def alone(maker: Maker) -> Feed:
    """Give a maker of a single tensor."""
    return partial(seeded, maker)
