"""Convolutional networks that part and meet: Inception, U-Net, HRNet."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.families.handmade import conv, pictured

Branches = tuple[int, int, int, int, int, int]
"""Widths of: 1x1; 3x3, inner and outer; 5x5, inner and outer; the pooled one."""


class InceptionBlock(nn.Module):
    """Looks through four lenses at once."""

    def __init__(self, enter: int, widths: Branches) -> None:
        super().__init__()
        one, three_in, three, five_in, five, pooled = widths
        self.one = conv(enter, one, 1)
        self.three = nn.Sequential(conv(enter, three_in, 1), conv(three_in, three, 3))
        self.five = nn.Sequential(conv(enter, five_in, 1), conv(five_in, five, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(enter, pooled, 1))
        self.width = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], dim=1)


class Inception(nn.Module):
    """GoogLeNet without its early exits."""

    def __init__(self, stem: tuple[int, int], stages: tuple[tuple[Branches, ...], ...], labels: int) -> None:
        super().__init__()
        first, enter = stem
        pool = partial(nn.MaxPool2d, 3, 2, 1)
        layers: list[nn.Module] = [conv(3, first, 7, 2), pool(), conv(first, first, 1), conv(first, enter, 3)]
        for stage in stages:
            layers.append(pool())
            for widths in stage:
                block = InceptionBlock(enter, widths)
                layers.append(block)
                enter = block.width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(enter, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def twice(enter: int, leave: int) -> nn.Sequential:
    """Convolve twice."""
    return nn.Sequential(conv(enter, leave, 3), conv(leave, leave, 3))


class UNet(nn.Module):
    """Down, and up again by transposed convolutions, with what was seen on the way down joined in."""

    def __init__(self, widths: tuple[int, ...], labels: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.enter = twice(3, widths[0])
        self.down = nn.ModuleList(twice(high, low) for high, low in pairs)
        self.rise = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, 2) for high, low in reversed(pairs))
        self.up = nn.ModuleList(twice(2 * high, high) for high, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        seen = []
        for down in self.down:
            seen.append(x)
            x = down(F.max_pool2d(x, 2))
        for rise, up in zip(self.rise, self.up, strict=True):
            x = up(torch.cat([seen.pop(), rise(x)], dim=1))
        return self.head(x)


class Gathering(nn.Module):
    """Sums what every resolution tells one of them: down by strides, up by a 1x1 and a stretch."""

    def __init__(self, widths: tuple[int, ...], target: int) -> None:
        super().__init__()
        self.target = target
        self.paths = nn.ModuleList(_path(widths, source, target) for source in range(len(widths)))

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[self.target].shape[-2:]
        told = [F.interpolate(path(x), size=size) for path, x in zip(self.paths, maps, strict=True)]
        return F.relu(torch.stack(told).sum(dim=0))


class Stage(nn.Module):
    """Works on every resolution by itself, and then lets every one tell every other."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.work = nn.ModuleList(twice(width, width) for width in widths)
        self.gather = nn.ModuleList(Gathering(widths, target) for target in range(len(widths)))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [x + work(x) for work, x in zip(self.work, maps, strict=True)]
        return [gather(maps) for gather in self.gather]


def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        return conv(widths[source], widths[target], 1, act=None)
    steps = [conv(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, conv(widths[source], widths[target], 3, 2, act=None))


class HighResolution(nn.Module):
    """Holds several resolutions side by side to the end, like HRNet."""

    def __init__(self, stem: int, widths: tuple[int, ...], depth: int, labels: int) -> None:
        super().__init__()
        self.stem = conv(3, stem, 3, 2)
        self.part = nn.ModuleList(conv(stem, width, 3, 2**i) for i, width in enumerate(widths))
        self.stages = nn.ModuleList(Stage(widths) for _ in range(depth))
        self.head = nn.Conv2d(sum(widths), labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        maps = [part(x) for part in self.part]
        for stage in self.stages:
            maps = stage(maps)
        size = maps[0].shape[-2:]
        return self.head(torch.cat([F.interpolate(x, size=size, mode="bilinear") for x in maps], dim=1))


GOOGLENET: tuple[tuple[Branches, ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)

FAMILIES = (
    pictured(
        "inception",
        "concat",
        partial(Inception, (8, 12), (((6, 5, 10, 4, 7, 9),), ((9, 6, 12, 5, 8, 7),)), 5),
        partial(Inception, (64, 192), GOOGLENET, 1000),
    ),
    pictured(
        "unet",
        "concat transposed segmentation",
        partial(UNet, (8, 12, 20), 5),
        partial(UNet, (64, 128, 256, 512, 1024), 2),
    ),
    pictured(
        "hrnet",
        "residual concat segmentation",
        partial(HighResolution, 8, (12, 16, 20), 2, 5),
        note="Streams of three widths are summed into one another.",
    ),
)
