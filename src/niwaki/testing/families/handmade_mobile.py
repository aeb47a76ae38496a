"""Convolutional networks for small devices: ShuffleNetV2, MobileNetV3, GhostNet."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from niwaki.testing.families.handmade import SqueezeExcite, conv, pictured


class ShuffleUnit(nn.Module):
    """One half of the channels goes through, the other past; then they are shuffled like cards."""

    def __init__(self, enter: int, leave: int, stride: int) -> None:
        super().__init__()
        half, self.split = leave // 2, stride == 1
        side = half if self.split else enter
        self.right = nn.Sequential(
            conv(side, half, 1), conv(half, half, 3, stride, half, act=None), conv(half, half, 1)
        )
        past = nn.Sequential(conv(enter, enter, 3, stride, enter, act=None), conv(enter, half, 1))
        self.left = nn.Identity() if self.split else past

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1) if self.split else (x, x)
        x = torch.cat([self.left(left), self.right(right)], dim=1)
        batch, width, height, length = x.shape
        return x.view(batch, 2, width // 2, height, length).transpose(1, 2).reshape(batch, width, height, length)


class ShuffleNet(nn.Module):
    """Three stages of shuffled halves."""

    def __init__(self, stem: int, stages: tuple[tuple[int, int], ...], last: int, labels: int) -> None:
        super().__init__()
        units = []
        enter = stem
        for depth, width in stages:
            for j in range(depth):
                units.append(ShuffleUnit(enter, width, 2 if j == 0 else 1))
                enter = width
        self.features = nn.Sequential(conv(3, stem, 3, 2), nn.MaxPool2d(3, 2, 1), *units, conv(enter, last, 1))
        self.head = nn.Linear(last, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


Row = tuple[int, int, int, int, int]
"""Of a table of inverted bottlenecks: kernel, inner width, outer width, width of squeeze (or 0), stride."""


class InvertedBottleneck(nn.Module):
    """Wide inside, narrow outside, with a depthwise convolution in the middle."""

    def __init__(self, enter: int, row: Row, act: type[nn.Module]) -> None:
        super().__init__()
        kernel, inner, leave, squeeze, stride = row
        self.residual = stride == 1 and enter == leave
        self.body = nn.Sequential(
            conv(enter, inner, 1, act=act) if inner != enter else nn.Identity(),
            conv(inner, inner, kernel, stride, inner, act),
            SqueezeExcite(inner, squeeze) if squeeze else nn.Identity(),
            conv(inner, leave, 1, act=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV3(nn.Module):
    """Inverted bottlenecks with squeeze and excite; the later ones, and the ends, in hard swish."""

    def __init__(self, stem: int, early: tuple[Row, ...], late: tuple[Row, ...], ends: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, stem, 3, 2, act=nn.Hardswish)]
        last, inner, labels = ends
        enter = stem
        for rows, act in ((early, nn.ReLU), (late, nn.Hardswish)):
            for row in rows:
                layers.append(InvertedBottleneck(enter, row, act))
                enter = row[2]
        self.features = nn.Sequential(*layers, conv(enter, last, 1, act=nn.Hardswish))
        self.head = nn.Sequential(nn.Linear(last, inner), nn.Hardswish(), nn.Dropout(), nn.Linear(inner, labels))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


class Ghost(nn.Module):
    """Makes half of its channels by a convolution, and their ghosts by a cheap depthwise one."""

    def __init__(self, enter: int, leave: int, act: type[nn.Module] | None = nn.ReLU) -> None:
        super().__init__()
        half = leave // 2
        self.primary = conv(enter, half, 1, act=act)
        self.cheap = conv(half, half, 3, groups=half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], dim=1)


class GhostBottleneck(nn.Module):
    """Two ghosts, with a depthwise convolution between them where the picture shrinks."""

    def __init__(self, enter: int, row: Row) -> None:
        super().__init__()
        kernel, inner, leave, squeeze, stride = row
        self.body = nn.Sequential(
            Ghost(enter, inner),
            conv(inner, inner, kernel, stride, inner, act=None) if stride > 1 else nn.Identity(),
            SqueezeExcite(inner, squeeze) if squeeze else nn.Identity(),
            Ghost(inner, leave, act=None),
        )
        same = stride == 1 and enter == leave
        self.shortcut = nn.Identity() if same else _around(enter, leave, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def _around(enter: int, leave: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(conv(enter, enter, kernel, stride, enter, act=None), conv(enter, leave, 1, act=None))


class GhostNet(nn.Module):
    """Ghost bottlenecks, and a head like that of MobileNetV3."""

    def __init__(self, stem: int, rows: tuple[Row, ...], ends: tuple[int, int, int]) -> None:
        super().__init__()
        blocks = []
        last, inner, labels = ends
        enter = stem
        for row in rows:
            blocks.append(GhostBottleneck(enter, row))
            enter = row[2]
        self.features = nn.Sequential(conv(3, stem, 3, 2), *blocks, conv(enter, last, 1))
        self.head = nn.Sequential(nn.Linear(last, inner), nn.ReLU(), nn.Dropout(), nn.Linear(inner, labels))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


MOBILE_EARLY: tuple[Row, ...] = (
    (3, 16, 16, 0, 1),
    (3, 64, 24, 0, 2),
    (3, 72, 24, 0, 1),
    (5, 72, 40, 24, 2),
    (5, 120, 40, 32, 1),
    (5, 120, 40, 32, 1),
)
MOBILE_LATE: tuple[Row, ...] = (
    (3, 240, 80, 0, 2),
    (3, 200, 80, 0, 1),
    (3, 184, 80, 0, 1),
    (3, 184, 80, 0, 1),
    (3, 480, 112, 120, 1),
    (3, 672, 112, 168, 1),
    (5, 672, 160, 168, 2),
    (5, 960, 160, 240, 1),
    (5, 960, 160, 240, 1),
)
GHOSTS: tuple[Row, ...] = (
    (3, 16, 16, 0, 1),
    (3, 48, 24, 0, 2),
    (3, 72, 24, 0, 1),
    (5, 72, 40, 20, 2),
    (5, 120, 40, 32, 1),
    (3, 240, 80, 0, 2),
    (3, 200, 80, 0, 1),
    (3, 184, 80, 0, 1),
    (3, 184, 80, 0, 1),
    (3, 480, 112, 120, 1),
    (3, 672, 112, 168, 1),
    (5, 672, 160, 168, 2),
    (5, 960, 160, 0, 1),
    (5, 960, 160, 240, 1),
    (5, 960, 160, 0, 1),
    (5, 960, 160, 240, 1),
)

FAMILIES = (
    pictured(
        "shufflenet_v2",
        "depthwise concat",
        partial(ShuffleNet, 8, ((2, 12), (2, 20)), 28, 5),
        partial(ShuffleNet, 24, ((4, 116), (8, 232), (4, 464)), 1024, 1000),
    ),
    pictured(
        "mobilenet_v3",
        "depthwise squeeze_excite residual",
        partial(MobileNetV3, 8, ((3, 8, 8, 0, 1), (3, 20, 12, 6, 2)), ((5, 24, 12, 7, 1),), (36, 28, 5)),
        partial(MobileNetV3, 16, MOBILE_EARLY, MOBILE_LATE, (960, 1280, 1000)),
    ),
    pictured(
        "ghostnet",
        "depthwise squeeze_excite residual concat",
        partial(GhostNet, 8, ((3, 16, 8, 0, 1), (3, 20, 12, 6, 2), (5, 24, 12, 7, 1)), (36, 28, 5)),
        partial(GhostNet, 16, GHOSTS, (960, 1280, 1000)),
    ),
)
