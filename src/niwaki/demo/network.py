"""A small residual network for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: identity, or a 1x1 projection where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(width_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(_conv(width_in, width, 1, stride), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride), odd sizes rounded up."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResidualNet(nn.Module):
    """A residual classifier: 3x3 stem, one stage of basic blocks per width, global average pool, linear.

    Every stage after the first halves the height and the width of the image. The weights are drawn from
    PyTorch's global generator, so call `torch.manual_seed` first to get the same network again.

    Args:
        widths: channels of each stage, at least one.
        blocks: basic blocks in each stage, at least 1.
        classes: length of the output.
        in_channels: channels of the input image.
        stem_stride: 2 makes the stem halve the image too: a quarter of the arithmetic.

    Raises:
        ValueError: `widths` is empty, or `blocks` is less than 1.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 2,
        classes: int = 10,
        in_channels: int = 1,
        *,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if not widths or blocks < 1:
            raise ValueError(f"need at least one width and one block, got widths={widths!r}, blocks={blocks}")
        self.stem = _conv(in_channels, widths[0], 3, stem_stride)
        self.bn = nn.BatchNorm2d(widths[0])
        self.stages = nn.Sequential(*_stages(widths, blocks))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, in_channels, H, W)."""
        x = F.relu(self.bn(self.stem(images)))
        x = self.stages(x)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def _stages(widths: Sequence[int], blocks: int) -> list[nn.Sequential]:
    stages, width_in = [], widths[0]
    for index, width in enumerate(widths):
        first = Block(width_in, width, stride=2 if index else 1)
        stages.append(nn.Sequential(first, *(Block(width, width, stride=1) for _ in range(blocks - 1))))
        width_in = width
    return stages


def _conv(width_in: int, width: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(width_in, width, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
