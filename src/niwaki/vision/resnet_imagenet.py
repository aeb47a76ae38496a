"""ResNet-34 and ResNet-50 for ImageNet, with the parameter names that the checkpoints in use have.

He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2016, table 1; a bottleneck that halves the image
does so in its 3x3 convolution, as those checkpoints were trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput

WIDTHS = (64, 128, 256, 512)


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    wider = 1
    """Channels that leave the block, per channel of its 3x3 convolutions."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(width_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride), odd sizes rounded up."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times as wide outside as inside."""

    wider = 4
    """Channels that leave the block, per channel of its 3x3 convolution."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(width_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, self.wider * width, 1)
        self.bn3 = nn.BatchNorm2d(self.wider * width)
        self.downsample = _downsample(width_in, self.wider * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) -> (N, 4 width, H / stride, W / stride), odd sizes rounded up."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ImageNetResNet(nn.Module):
    """A 7x7 stem with pooling, four stages of blocks, the global mean, a linear head ``fc``.

    Args:
        block: `Basic` or `Bottleneck`.
        blocks: in each of the four stages.
        classes: length of the output.
    """

    def __init__(self, block: type[Basic] | type[Bottleneck], blocks: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        self.conv1 = _conv(3, WIDTHS[0], 7, stride=2)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        outer = [block.wider * width for width in WIDTHS]
        self.layer1 = _stage(block, WIDTHS[0], WIDTHS[0], blocks[0], stride=1)
        self.layer2 = _stage(block, outer[0], WIDTHS[1], blocks[1], stride=2)
        self.layer3 = _stage(block, outer[1], WIDTHS[2], blocks[2], stride=2)
        self.layer4 = _stage(block, outer[2], WIDTHS[3], blocks[3], stride=2)
        self.fc = nn.Linear(outer[3], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, 224, 224); other sizes work too."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def resnet34(classes: int = 1000) -> ImageNetResNet:
    """Sixteen `Basic` blocks, with fresh weights from the global generator.

    Raises:
        BadInput: there is no class.
    """
    return _resnet(Basic, classes)


def resnet50(classes: int = 1000) -> ImageNetResNet:
    """Sixteen `Bottleneck` blocks, with fresh weights from the global generator.

    Raises:
        BadInput: there is no class.
    """
    return _resnet(Bottleneck, classes)


def _resnet(block: type[Basic] | type[Bottleneck], classes: int) -> ImageNetResNet:
    if classes < 1:
        raise BadInput(f"A classifier needs at least one class, not {classes}.")
    return ImageNetResNet(block, (3, 4, 6, 3), classes)


def _stage(block: type[Basic] | type[Bottleneck], width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (block(block.wider * width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(width_in, width, stride), *rest)


def _downsample(width_in: int, width: int, stride: int) -> nn.Sequential | None:
    """A 1x1 projection where the shape changes; its two parts are ``downsample.0`` and ``downsample.1``."""
    if stride == 1 and width_in == width:
        return None
    return nn.Sequential(_conv(width_in, width, 1, stride), nn.BatchNorm2d(width))


def _conv(width_in: int, width: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(width_in, width, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
