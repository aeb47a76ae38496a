"""Networks that add what they skipped: ResNets of several kinds, MobileNetV2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.nursery import Specimen, axes, ends, images, planted, tags, ties


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or width != out:
            shrink = nn.Conv2d(width, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shrink, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return F.relu(out)


class PaddedBlock(nn.Module):
    """The shortcut without parameters (option A): every second pixel, and zeros for the new channels."""

    def __init__(self, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride = stride
        self.extra = (out - width) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra), "constant", 0)
        return F.relu(out + x)


class Bottleneck(nn.Module):
    """Narrow, convolve, widen; with more than one group it is the ResNeXt block."""

    def __init__(self, width: int, mid: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + x)


class PreActivation(nn.Module):
    """Norm and activation come first, and nothing touches the sum."""

    def __init__(self, width: int, mid: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, mid, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return x + out


class InvertedResidual(nn.Module):
    """Widen, convolve each channel alone, narrow; a shortcut where the shape allows one."""

    def __init__(self, width: int, out: int, stride: int, expand: int = 2) -> None:
        super().__init__()
        mid = width * expand
        self.use_res_connect = stride == 1 and width == out
        self.expand = nn.Sequential(nn.Conv2d(width, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU6())
        depthwise = nn.Conv2d(mid, mid, 3, stride, padding=1, groups=mid, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(mid), nn.ReLU6())
        self.project = nn.Sequential(nn.Conv2d(mid, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.use_res_connect else out


class ResidualNet(nn.Module):
    """A stem, a trunk of residual blocks, a pooled head."""

    def __init__(self, blocks: list[nn.Module], width: int, out: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(out, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn(self.stem(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet_projection() -> nn.Module:
    """Two basic blocks, the second with a projected shortcut."""
    return ResidualNet([BasicBlock(8, 8), BasicBlock(8, 12, stride=2)], 8, 12)


def resnet_padded() -> nn.Module:
    """Two basic blocks, the second with a padded shortcut."""
    return ResidualNet([PaddedBlock(8, 8), PaddedBlock(8, 16, stride=2)], 8, 16)


def resnet_bottleneck(groups: int) -> nn.Module:
    """Two bottlenecks on one trunk."""
    return ResidualNet([Bottleneck(16, 8, groups), Bottleneck(16, 8, groups)], 16, 16)


def resnet_preactivation() -> nn.Module:
    """Two blocks with the norm in front."""
    return ResidualNet([PreActivation(8, 10), PreActivation(8, 12)], 8, 8)


def mobilenet_v2() -> nn.Module:
    """Two inverted residuals: one with a shortcut, one that strides."""
    return ResidualNet([InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2)], 8, 12)


SPECIMENS = (
    Specimen(
        "resnet_projection",
        planted(resnet_projection),
        images(3, 8),
        tags("cnn residual"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 blocks.0.conv1.weight:0 blocks.1.conv1.weight:0 blocks.1.conv2.weight:0"),
        tied=ties(
            "stem.weight:0 bn.weight:0 blocks.0.conv1.weight:1 blocks.0.conv2.weight:0 blocks.0.bn2.weight:0 "
            "blocks.1.conv1.weight:1 blocks.1.downsample.0.weight:1",
            "blocks.0.conv1.weight:0 blocks.0.bn1.running_mean:0 blocks.0.conv2.weight:1",
            "blocks.1.conv2.weight:0 blocks.1.downsample.0.weight:0 blocks.1.downsample.1.bias:0 fc.weight:1",
        ),
    ),
    Specimen(
        # The padded channels have a hard-coded count and must stay; the copied ones between them may go.
        "resnet_padded",
        planted(resnet_padded),
        images(3, 8),
        tags("cnn residual may_block"),
        blocks=ends("stem", "fc"),
        prunable=axes("blocks.0.conv1.weight:0 blocks.1.conv1.weight:0"),
        tied=ties(
            "blocks.0.conv1.weight:0 blocks.0.bn1.weight:0 blocks.0.conv2.weight:1",
            "blocks.1.conv1.weight:0 blocks.1.bn1.bias:0 blocks.1.conv2.weight:1",
        ),
    ),
    Specimen(
        "resnet_bottleneck",
        planted(resnet_bottleneck, 1),
        images(3, 8),
        tags("cnn residual"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 blocks.0.conv1.weight:0 blocks.0.conv2.weight:0 blocks.1.conv2.weight:0"),
        tied=ties(
            "stem.weight:0 blocks.0.conv1.weight:1 blocks.0.conv3.weight:0 blocks.1.bn3.weight:0 fc.weight:1",
            "blocks.0.conv1.weight:0 blocks.0.bn1.weight:0 blocks.0.conv2.weight:1",
            "blocks.1.conv2.weight:0 blocks.1.bn2.running_var:0 blocks.1.conv3.weight:1",
        ),
    ),
    Specimen(
        # One slice of dim 1 of a grouped weight reads one channel of every group.
        "resnext",
        planted(resnet_bottleneck, 2),
        images(3, 8),
        tags("cnn residual grouped balance"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 blocks.0.conv1.weight:0 blocks.0.conv2.weight:0 blocks.1.conv2.weight:0"),
        tied=ties(
            "stem.weight:0 blocks.0.conv1.weight:1 blocks.0.conv3.weight:0 blocks.1.bn3.weight:0 fc.weight:1",
            "blocks.0.conv1.weight:0 blocks.0.bn1.weight:0",
            "blocks.0.conv2.weight:0 blocks.0.bn2.weight:0 blocks.0.conv3.weight:1",
        ),
    ),
    Specimen(
        "resnet_preactivation",
        planted(resnet_preactivation),
        images(3, 8),
        tags("cnn residual"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 blocks.0.conv1.weight:0 blocks.1.conv1.weight:0"),
        tied=ties(
            "stem.weight:0 blocks.0.bn1.weight:0 blocks.0.conv1.weight:1 blocks.0.conv2.weight:0 "
            "blocks.1.bn1.running_mean:0 blocks.1.conv2.weight:0 fc.weight:1",
            "blocks.1.conv1.weight:0 blocks.1.bn2.weight:0 blocks.1.conv2.weight:1",
        ),
    ),
    Specimen(
        "mobilenet_v2",
        planted(mobilenet_v2),
        images(3, 8),
        tags("cnn residual depthwise"),
        blocks=ends("stem", "fc"),
        prunable=axes(
            "stem.weight:0 blocks.0.expand.0.weight:0 blocks.1.expand.0.weight:0 blocks.1.project.0.weight:0"
        ),
        tied=ties(
            "stem.weight:0 blocks.0.expand.0.weight:1 blocks.0.project.0.weight:0 blocks.1.expand.0.weight:1",
            "blocks.0.expand.0.weight:0 blocks.0.depthwise.0.weight:0 blocks.0.depthwise.1.weight:0 "
            "blocks.0.project.0.weight:1",
            "blocks.1.project.0.weight:0 blocks.1.project.1.weight:0 fc.weight:1",
        ),
    ),
)
