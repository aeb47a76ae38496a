"""Channels that live in grids: depthwise and grouped convolution, shuffles, pixels, pairs, halves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.nursery import Specimen, axes, ends, images, planted, tags, ties


class Sandwich(nn.Module):
    """Two convolutions and a pooled head, with one mechanism between: most specimens need no more."""

    def __init__(self, wide: int = 16, narrow: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, wide, 3, padding=1)
        self.conv2 = nn.Conv2d(narrow, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def between(self, x: Tensor) -> Tensor:
        """Carry what conv1 made to conv2."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.conv1(x))
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


class DepthwiseMultiplier(Sandwich):
    """Each channel alone becomes two."""

    def __init__(self) -> None:
        super().__init__(8, 16)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False)
        self.bn = nn.BatchNorm2d(16)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.depthwise(F.relu(x))))


class GroupedTranspose(Sandwich):
    """A transposed convolution in two groups: its dim 0 reads, its dim 1 makes a part of each group."""

    def __init__(self) -> None:
        super().__init__(12, 8)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2, groups=2)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.up(F.relu(x)))


class PixelShuffle(Sandwich):
    """Four channels become four pixels of one."""

    def __init__(self) -> None:
        super().__init__(16, 4)
        self.shuffle = nn.PixelShuffle(2)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.shuffle(x))


class PixelUnshuffle(Sandwich):
    """Four pixels of one channel become four channels."""

    def __init__(self) -> None:
        super().__init__(4, 16)
        self.unshuffle = nn.PixelUnshuffle(2)

    def between(self, x: Tensor) -> Tensor:
        return self.unshuffle(F.relu(x))


class Maxout(Sandwich):
    """The greater of each pair of neighbours."""

    def __init__(self) -> None:
        super().__init__(16, 8)

    def between(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, c // 2, 2, h, w).max(dim=2).values


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of each group out in turn."""
    n, c, h, w = x.size()
    x = x.view(n, groups, c // groups, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(n, -1, h, w)


class ShuffleUnitV1(nn.Module):
    """Grouped 1x1 convolutions with a shuffle between, beside a shortcut."""

    def __init__(self, width: int, mid: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.compress = nn.Conv2d(width, mid, 1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.depthwise = nn.Conv2d(mid, mid, 3, padding=1, groups=mid, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.expand = nn.Conv2d(mid, width, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.compress(x)))
        out = channel_shuffle(out, self.groups)
        out = self.bn2(self.depthwise(out))
        return F.relu(x + self.bn3(self.expand(out)))


class ShuffleUnitV2(nn.Module):
    """Half of the channels rest, half are worked on, and then all are shuffled."""

    def __init__(self, width: int, mid: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, mid, 1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, mid, 3, padding=1, groups=mid, bias=False),
            nn.BatchNorm2d(mid),
            nn.Conv2d(mid, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        out = torch.cat((x1, self.branch(x2)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNet(nn.Module):
    """A stem, two units, a head."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        unit = (lambda: ShuffleUnitV1(16, 16, 2)) if version == 1 else (lambda: ShuffleUnitV2(16, 10))
        self.units = nn.Sequential(unit(), unit())
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.units(F.relu(self.stem(x))).mean([2, 3]))


class ChunkGate(Sandwich):
    """One half gates the other, so that a channel and its gate go together."""

    def __init__(self) -> None:
        super().__init__(16, 8)

    def between(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return a * torch.sigmoid(b)


class SliceGate(ChunkGate):
    """The same gate, with the half read from the shape."""

    def between(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return x[:, : c // 2] * torch.sigmoid(x[:, c // 2 :])


class SplitGate(ChunkGate):
    """The same gate, with the half written as a number: no cut can follow it."""

    def between(self, x: Tensor) -> Tensor:
        a, b = torch.split(x, 8, dim=1)
        return a * torch.sigmoid(b)


class Halves(Sandwich):
    """The halves go their own ways, yet must stay halves."""

    def __init__(self) -> None:
        super().__init__(16, 6)
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        a, b = F.relu(x).chunk(2, dim=1)
        return torch.relu(self.left(a) + self.right(b))


class SliceHalves(Halves):
    """The same, with the half read from the shape."""

    def between(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        c = x.size(1)
        return torch.relu(self.left(x[:, : c // 2]) + self.right(x[:, c // 2 :]))


class SplitHalves(Halves):
    """The same, with the half written as a number: only the last half may lose channels, if any."""

    def between(self, x: Tensor) -> Tensor:
        a, b = F.relu(x).split(8, 1)
        return torch.relu(self.left(a) + self.right(b))


HALVES = ties(
    "conv1.weight:0 conv1.bias:0 left.weight:1",
    "conv1.weight:0 right.weight:1",
    "left.weight:0 right.weight:0 conv2.weight:1",
)

SPECIMENS = (
    Specimen(
        "depthwise_multiplier",
        planted(DepthwiseMultiplier),
        images(3, 6),
        tags("cnn depthwise balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 depthwise.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 depthwise.weight:0 bn.weight:0 conv2.weight:1"),
    ),
    Specimen(
        "grouped_transpose",
        planted(GroupedTranspose),
        images(3, 5),
        tags("cnn grouped transposed balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 up.weight:1 conv2.weight:0"),
        tied=ties("conv1.weight:0 up.weight:0", "up.weight:1 up.bias:0 conv2.weight:1"),
    ),
    Specimen(
        "pixel_shuffle",
        planted(PixelShuffle),
        images(3, 5),
        tags("cnn balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv1.bias:0 conv2.weight:1"),
    ),
    Specimen(
        "pixel_unshuffle",
        planted(PixelUnshuffle),
        images(3, 6),
        tags("cnn balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv1.bias:0 conv2.weight:1"),
    ),
    Specimen(
        "maxout",
        planted(Maxout),
        images(3, 6),
        tags("cnn balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv1.bias:0 conv2.weight:1"),
    ),
    Specimen(
        # Equal counts are not enough behind the shuffle: the same place must go in both groups, or the
        # survivors come out in another order than the columns that wait for them.
        "shufflenet_v1",
        planted(ShuffleNet, 1),
        images(3, 6),
        tags("cnn residual grouped shuffle balance hard"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 units.0.compress.weight:0"),
        tied=ties(
            "stem.weight:0 units.0.expand.weight:0 units.1.bn3.weight:0 fc.weight:1",
            "units.0.compress.weight:0 units.0.bn1.weight:0 units.0.depthwise.weight:0 units.0.bn2.weight:0",
        ),
    ),
    Specimen(
        "shufflenet_v2",
        planted(ShuffleNet, 2),
        images(3, 6),
        tags("cnn concat shuffle balance"),
        blocks=ends("stem", "fc"),
        prunable=axes("units.0.branch.0.weight:0 units.1.branch.0.weight:0"),
        tied=ties(
            "units.0.branch.0.weight:0 units.0.branch.1.weight:0 units.0.branch.3.weight:0 "
            "units.0.branch.4.weight:0 units.0.branch.5.weight:1",
        ),
    ),
    Specimen(
        "chunk_gate",
        planted(ChunkGate),
        images(3, 6),
        tags("cnn gate balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv1.bias:0 conv2.weight:1"),
    ),
    Specimen(
        "slice_gate",
        planted(SliceGate),
        images(3, 6),
        tags("cnn gate balance may_block"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv2.weight:0"),
    ),
    Specimen(
        "split_gate_hard_coded",
        planted(SplitGate),
        images(3, 6),
        tags("cnn gate must_block"),
        blocks=ends("conv1", "fc") + axes("conv1.weight:0 conv1.bias:0 conv2.weight:1"),
        prunable=axes("conv2.weight:0"),
        tied=ties("conv2.weight:0 fc.weight:1"),
    ),
    Specimen(
        "chunk_halves",
        planted(Halves),
        images(3, 6),
        tags("cnn balance"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 left.weight:0 conv2.weight:0"),
        tied=HALVES,
    ),
    Specimen(
        "slice_halves",
        planted(SliceHalves),
        images(3, 6),
        tags("cnn balance may_block"),
        blocks=ends("conv1", "fc"),
        prunable=axes("left.weight:0 conv2.weight:0"),
        tied=HALVES[-2:],
    ),
    Specimen(
        "split_halves_hard_coded",
        planted(SplitHalves),
        images(3, 6),
        tags("cnn balance may_block"),
        blocks=ends("conv1", "fc"),
        prunable=axes("left.weight:0 conv2.weight:0"),
        tied=HALVES[-2:],
    ),
)
