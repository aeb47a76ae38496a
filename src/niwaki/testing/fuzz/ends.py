"""The first and the last layer: what makes the features, and what makes the answer of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from niwaki.testing.fuzz.layers import WIDTHS
from niwaki.testing.fuzz.pool import ANY, HEADS, IMAGE, STEMS, TOKEN, Knobs, Size, Step, gene

CLASSES = 3
WORDS = 7


@gene("pixels", table=STEMS, gives=IMAGE)
def _conv_stem(size: Size, knobs: Knobs) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(size.width, knobs.of(*WIDTHS), 3, padding=1)]
    if knobs.below(2):
        layers.append(nn.BatchNorm2d(layers[0].out_channels))  # type: ignore[arg-type]
    return nn.Sequential(*layers, knobs.of(nn.ReLU(), nn.Identity(), nn.SiLU()))


@gene("numbers", table=STEMS, gives=TOKEN)
def _linear_stem(size: Size, knobs: Knobs) -> nn.Module:
    return nn.Sequential(nn.Linear(size.width, knobs.of(*WIDTHS)), knobs.of(nn.Identity(), nn.ReLU(), nn.GELU()))


@gene("words", table=STEMS, gives=TOKEN)
def _embedding_stem(size: Size, knobs: Knobs) -> nn.Module:
    return nn.Embedding(WORDS, knobs.of(*WIDTHS), padding_idx=knobs.of(None, 0))


@gene(ANY, table=HEADS)
def _pooled(size: Size, knobs: Knobs) -> nn.Module:
    space: Any = (2, 3) if size.image else 1
    pool = knobs.of(lambda x: x.mean(space), lambda x: x.amax(space), lambda x: x.sum(space))
    return Step(lambda m, x: m.fc(pool(x)), fc=nn.Linear(size.width, CLASSES))


@gene(ANY, table=HEADS)
def _flat(size: Size, knobs: Knobs) -> nn.Module:
    count = 1
    for n in size.dims:
        count *= n
    written, fc = knobs.below(2), nn.Linear(count, CLASSES)
    return Step(lambda m, x: m.fc(x.reshape(-1, count) if written else x.flatten(1)), fc=fc)


@gene(TOKEN, table=HEADS)
def _each_token(size: Size, knobs: Knobs) -> nn.Module:
    return nn.Linear(size.width, CLASSES)


@gene(TOKEN, table=HEADS)
def _one_token(size: Size, knobs: Knobs) -> nn.Module:
    at = knobs.of(0, -1)
    return Step(lambda m, x: m.fc(x[:, at]), fc=nn.Linear(size.width, CLASSES))


@gene(IMAGE, table=HEADS)
def _map(size: Size, knobs: Knobs) -> nn.Module:
    return nn.Conv2d(size.width, CLASSES, 1)


@gene(ANY, table=HEADS)
def _summed(size: Size, knobs: Knobs) -> nn.Module:
    """No layer at all: a sum, a norm or a dot product of the features answers."""
    axis = size.axis
    return Step(
        knobs.of(
            lambda m, x: x.sum(axis),
            lambda m, x: x.norm(dim=axis),
            lambda m, x: x.mean(axis),
            lambda m, x: (x * x.tanh()).sum(axis),
            lambda m, x: torch.sigmoid(x).sum(axis),
        )
    )
