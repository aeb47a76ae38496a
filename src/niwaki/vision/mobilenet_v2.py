"""MobileNetV2 for ImageNet, with the parameter names that the checkpoints in use have.

Sandler, Howard, Zhu, Zhmoginov and Chen, MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, table 2.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Of each stage: how many times the block is wider inside, width outside, blocks, stride of the first."""
FIRST, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Widen, convolve each channel on its own, narrow without an activation; beside a shortcut where shapes agree.

    The parts are ``conv.0`` (1x1, widens; left out where nothing is widened), the next (3x3, depthwise), and at the end
    a 1x1 convolution and its batch norm.
    """

    def __init__(self, width_in: int, width: int, stride: int, wider: int) -> None:
        super().__init__()
        inside = wider * width_in
        expand = [_with_norm(width_in, inside, 1)] if wider != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _with_norm(inside, inside, 3, stride, groups=inside),
            nn.Conv2d(inside, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride), odd sizes rounded up."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """A stem, 17 blocks, a wide 1x1 convolution (all in ``features``), the global mean, a linear head.

    Args:
        classes: length of the output.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(_with_norm(3, FIRST, 3, 2), *_blocks(), _with_norm(STAGES[-1][1], LAST, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST, classes))
        self.apply(_draw)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, 224, 224); other sizes work too."""
        x = self.features(images)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def mobilenet_v2(classes: int = 1000) -> MobileNetV2:
    """Of width 1.0, with fresh weights from the global generator.

    Raises:
        BadInput: there is no class.
    """
    if classes < 1:
        raise BadInput(f"A classifier needs at least one class, not {classes}.")
    return MobileNetV2(classes)


def _blocks() -> list[InvertedResidual]:
    rows = [(wider, width, stride if k == 0 else 1) for wider, width, n, stride in STAGES for k in range(n)]
    widths = [FIRST, *(width for _, width, _ in rows)]
    pairs = zip(pairwise(widths), rows, strict=True)
    return [InvertedResidual(before, after, stride, wider) for (before, after), (wider, _, stride) in pairs]


def _with_norm(width_in: int, width: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(width_in, width, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU6(inplace=True))


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
