"""What a specimen is, and how one is planted: seeded, alive in every channel, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Place = tuple[str, int]
Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Specimen:
    """One tiny network, and what every honest coupling graph must say about it.

    An axis is ``(name, dim)``, with the name as in ``named_parameters()`` or ``named_buffers()``.
    The lists are claims and not a census: an axis that no list names may go either way.

    Tags: ``must_block`` where a cut through some axis would be wrong or impossible, ``may_block`` where
    blocking is a fair answer and so is a right cut, ``balance`` where parts of an axis must keep equal
    counts, ``statistics`` where a norm averages over a prunable axis, ``hard`` where ``prunable`` asks
    for more than a careful tracer must give, ``later`` where only ``blocks`` is claimed so far, and
    ``reads_values`` where the forward looks at numbers, so that fake tensors cannot go through.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    tags: frozenset[str]
    blocks: tuple[Place, ...] = ()
    """Axes of which no index may be in any group."""
    prunable: tuple[Place, ...] = ()
    """Axes that some group holds, wholly or (after a concat) in part."""
    tied: tuple[tuple[Place, Place], ...] = ()
    """Pairs of axes that some one group holds both of."""


def tags(words: str) -> frozenset[str]:
    """Read tags from a spaced list."""
    return frozenset(words.split())


def axes(text: str) -> tuple[Place, ...]:
    """Read axes from a spaced list: ``"conv1.weight:0 conv2.weight:1"``."""
    return tuple((name, int(dim)) for name, _, dim in (word.rpartition(":") for word in text.split()))


def ties(*chains: str) -> tuple[tuple[Place, Place], ...]:
    """Tie the first axis of each chain to every other axis of that chain."""
    return tuple((chain[0], other) for chain in map(axes, chains) for other in chain[1:])


def ends(first: str, last: str) -> tuple[Place, ...]:
    """List the axes that the world holds on to: what the first layer reads and the last one answers."""
    return axes(f"{first}.weight:1 {last}.weight:0 {last}.bias:0")


def planted(factory: Callable[..., nn.Module], *args: Any) -> Callable[[], nn.Module]:
    """Give a builder of ``factory(*args)`` that makes the same living network every time."""
    return partial(seeded, partial(_plant, factory, *args))


def floats(*shapes: tuple[int, ...]) -> Callable[[], Inputs]:
    """Give a maker of one normal tensor per shape."""
    return partial(seeded, partial(_draw, shapes))


def images(channels: int, size: int) -> Callable[[], Inputs]:
    """Give a maker of two square images."""
    return floats((2, channels, size, size))


def tokens(vocabulary: int, length: int) -> Callable[[], Inputs]:
    """Give a maker of two sentences."""
    return partial(seeded, partial(_speak, vocabulary, length))


def seeded(make: Callable[[], T]) -> T:
    """Call ``make`` under seed 0 and leave the global generator where it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators too, which are not forked here.
        torch.default_generator.manual_seed(0)
        return make()


def _plant(factory: Callable[..., nn.Module], *args: Any) -> nn.Module:
    model = factory(*args)
    _enliven(model)
    return model.eval()


@torch.no_grad()
def _enliven(model: nn.Module) -> None:
    """Draw every weight and statistic, because fresh norms and biases are all alike and hide mistakes."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
        elif "bias" in name:
            # Rather positive: behind a ReLU, a bias far below zero would put the channel to death.
            weight.normal_(mean=0.4, std=0.2)
        else:
            weight.uniform_(0.5, 1.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


def _draw(shapes: tuple[tuple[int, ...], ...]) -> tuple[Tensor, ...]:
    return tuple(torch.randn(shape) for shape in shapes)


def _speak(vocabulary: int, length: int) -> tuple[Tensor, ...]:
    return (torch.randint(vocabulary, (2, length)),)
