"""ResNet-20, -32, -44, -56, -110, …: the residual networks for CIFAR, with shortcuts that hold no parameters.

He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2016, section 4.2, shortcuts of option A. The
modules have the names that the checkpoints in use have (``conv1``, ``layer1.0.conv1``, …, ``linear``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the identity, or `subsample` where the width doubles."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.narrow = width_in != width
        self.padding = width // 4
        self.conv1 = _conv(width_in, width, stride=2 if self.narrow else 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) -> (N, width, H, W), or half the height and width where the width doubles."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (subsample(x, self.padding) if self.narrow else x))


class CifarResNet(nn.Module):
    """A 3x3 stem, three stages of `Block`, the global mean, a linear head. Weights come from the global generator.

    Args:
        blocks: in each stage; the network has 6 * blocks + 2 layers with weights.
        classes: length of the output.
    """

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = _conv(3, WIDTHS[0])
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks)
        self.linear = nn.Linear(WIDTHS[2], classes)
        nn.init.kaiming_normal_(self.linear.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, 32, 32); other sizes work too."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def resnet(depth: int, classes: int = 10) -> CifarResNet:
    """The network of that many layers with weights, with fresh weights.

    Raises:
        BadInput: the depth is not 6 n + 2 with n of at least 1, or there is no class.
    """
    if depth < 8 or depth % 6 != 2:
        raise BadInput(f"A CIFAR ResNet has 6 n + 2 layers, not {depth}; take 20, 32, 44, 56 or 110, for example.")
    if classes < 1:
        raise BadInput(f"A classifier needs at least one class, not {classes}.")
    return CifarResNet(depth // 6, classes)


def subsample(x: Tensor, padding: int) -> Tensor:
    """Each second pixel of each second row, between ``padding`` channels of zeros on either side."""
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, padding, padding))


def _stage(width_in: int, width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Block(width_in, width), *(Block(width, width) for _ in range(blocks - 1)))


def _conv(width_in: int, width: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv
