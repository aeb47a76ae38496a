"""Convolutional networks in one line: VGG, SqueezeNet, ResNeXt, DenseNet, and a stack of causal convolutions."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.families.feeds import alone, floats
from niwaki.testing.families.handmade import conv, handmade, pictured


class Vgg(nn.Module):
    """Three by three, again and again; the map is flattened into a classifier of three matrices."""

    def __init__(self, stages: tuple[tuple[int, ...], ...], pool: int, inner: int, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        enter = 3
        for stage in stages:
            for width in stage:
                layers += [nn.Conv2d(enter, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                enter = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(pool))
        self.classifier = nn.Sequential(
            nn.Linear(enter * pool * pool, inner),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(inner, inner),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(inner, labels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class Fire(nn.Module):
    """Squeezes, and expands by two convolutions side by side."""

    def __init__(self, enter: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(enter, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1(x).relu(), self.expand3(x).relu()], dim=1)


class SqueezeNet(nn.Module):
    """Fires between pools; the labels are channels of the last map."""

    def __init__(self, stem: int, stages: tuple[tuple[tuple[int, int], ...], ...], labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, stride=2), nn.ReLU()]
        enter = stem
        for stage in stages:
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            for squeeze, expand in stage:
                layers.append(Fire(enter, squeeze, expand))
                enter = 2 * expand
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(enter, labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).relu().mean(dim=(2, 3))


class ResNextBlock(nn.Module):
    """A bottleneck whose middle convolution is grouped."""

    def __init__(self, enter: int, inner: int, leave: int, groups: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(enter, inner, 1), conv(inner, inner, 3, stride, groups), conv(inner, leave, 1, act=None)
        )
        same = stride == 1 and enter == leave
        self.shortcut = nn.Identity() if same else conv(enter, leave, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResNext(nn.Module):
    """Residual stages; inside each block, twice as many features as the paper's cardinality times its width."""

    def __init__(self, stem: int, stages: tuple[tuple[int, int, int], ...], groups: int, labels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1))
        blocks = []
        enter = stem
        for i, (depth, inner, leave) in enumerate(stages):
            for j in range(depth):
                blocks.append(ResNextBlock(enter, inner, leave, groups, 2 if i > 0 and j == 0 else 1))
                enter = leave
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(enter, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class DenseLayer(nn.Module):
    """Norms first; hands on what it was given, and what it made of it."""

    def __init__(self, enter: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(enter), nn.BatchNorm2d(4 * growth)
        self.conv1 = nn.Conv2d(enter, 4 * growth, 1, bias=False)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return torch.cat([x, new], dim=1)


class DenseNet(nn.Module):
    """Each layer reads all that came before it in its block; between blocks, half of it is kept."""

    def __init__(self, stem: int, growth: int, blocks: tuple[int, ...], labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1)]
        width = stem
        for i, depth in enumerate(blocks):
            if i > 0:
                layers += [
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, width // 2, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                width //= 2
            for _ in range(depth):
                layers.append(DenseLayer(width, growth))
                width += growth
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


class CausalBlock(nn.Module):
    """Two dilated convolutions that see only the past, beside a shortcut."""

    def __init__(self, enter: int, leave: int, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.conv1 = nn.Conv1d(enter, leave, 3, dilation=dilation)
        self.conv2 = nn.Conv1d(leave, leave, 3, dilation=dilation)
        self.shortcut = nn.Identity() if enter == leave else nn.Conv1d(enter, leave, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(F.pad(x, (self.past, 0))))
        y = F.relu(self.conv2(F.pad(y, (self.past, 0))))
        return F.relu(y + self.shortcut(x))


class Tcn(nn.Module):
    """Causal blocks that look back twice as far each; every moment gets its labels."""

    def __init__(self, features: int, widths: tuple[int, ...], labels: int) -> None:
        super().__init__()
        pairs = zip((features, *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(CausalBlock(enter, leave, 2**i) for i, (enter, leave) in enumerate(pairs)))
        self.head = nn.Conv1d(widths[-1], labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x))


VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SQUEEZENET = (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))
RESNEXT50 = ((3, 128, 256), (4, 256, 512), (6, 512, 1024), (3, 1024, 2048))

FAMILIES = (
    pictured(
        "vgg",
        "flatten",
        partial(Vgg, ((8, 12), (16, 20), (24,)), 2, 28, 5),
        partial(Vgg, VGG16, 7, 4096, 1000),
    ),
    pictured(
        "squeezenet",
        "concat",
        partial(SqueezeNet, 8, (((6, 10),), ((7, 12), (7, 12))), 5),
        partial(SqueezeNet, 64, SQUEEZENET, 1000),
    ),
    pictured(
        "resnext",
        "residual grouped",
        partial(ResNext, 8, ((1, 12, 16), (2, 24, 28)), 4, 5),
        partial(ResNext, 64, RESNEXT50, 32, 1000),
    ),
    pictured(
        "densenet",
        "concat",
        partial(DenseNet, 12, 6, (2, 3), 5),
        partial(DenseNet, 64, 32, (6, 12, 24, 16), 1000),
    ),
    handmade("tcn", "cnn audio residual", "channel", partial(Tcn, 6, (12, 12, 20), 5), alone(floats(2, 6, 11))),
)
