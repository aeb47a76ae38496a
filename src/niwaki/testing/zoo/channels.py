"""What a forward does along or across the channel axis: reorder, mix, pick, pad, overwrite, scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.grouped import Sandwich
from niwaki.testing.zoo.nursery import Specimen, axes, ends, images, planted, tags, ties


class Flip(Sandwich):
    """Adds the channels in reverse order."""

    def between(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return x + x.flip(1)


class Roll(Sandwich):
    """Adds each channel to its neighbour: in the end all hang together."""

    def between(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return x + torch.roll(x, shifts=1, dims=1)


class Softmax(Sandwich):
    """Lets the channels share out one unit: a channel that goes leaves its share to the others."""

    def between(self, x: Tensor) -> Tensor:
        return x.softmax(dim=1)


class Ramp(Sandwich):
    """Adds to every channel its own number, made on the spot."""

    def between(self, x: Tensor) -> Tensor:
        ramp = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
        return F.relu(x + 0.1 * ramp.view(1, -1, 1, 1))


class SpatialAttention(nn.Module):
    """Weighs the pixels by the mean and the maximum over channels, as CBAM does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.attend = nn.Conv2d(2, 1, 3, padding=1, bias=False)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        mean = torch.mean(x, dim=1, keepdim=True)
        peak, _ = torch.max(x, dim=1, keepdim=True)
        x = x * torch.sigmoid(self.attend(torch.cat([mean, peak], dim=1)))
        return self.fc(x.mean((2, 3)))


class ConcatInput(Sandwich):
    """Gives the image a second time, beside the features."""

    def __init__(self) -> None:
        super().__init__(8, 8 + 3)

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.conv1(x))
        features = torch.cat([features, x], dim=1)
        return self.fc(F.relu(self.conv2(features)).mean((2, 3)))


class Coordinates(Sandwich):
    """Puts two channels of coordinates in front of the features."""

    def __init__(self) -> None:
        super().__init__(8, 8 + 2)

    def between(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1).expand(n, 1, h, w)
        columns = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, w).expand(n, 1, h, w)
        return torch.cat([rows, columns, F.relu(x)], dim=1)


class SliceAssignment(nn.Module):
    """Fills a tensor of zeros in two strokes, the way people write a concat by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 6, 1)
        self.side = nn.Conv2d(8, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 8, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        stem = F.relu(self.stem(x))
        x = self.conv1(stem)
        n, c, h, w = x.shape
        y = x.new_zeros(n, 2 * c, h, w)
        y[:, :c] = x
        y[:, c:] = self.side(stem)
        return self.fc(F.relu(self.conv2(F.relu(y))).mean((2, 3)))


class BroadcastSum(Sandwich):
    """Adds one map to all channels: the one must not tie the many."""

    def __init__(self) -> None:
        super().__init__(12, 12)
        self.one = nn.Conv2d(12, 1, 1)

    def between(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return F.relu(x + self.one(x))


class ChannelBuffer(Sandwich):
    """Scales by a buffer that nobody trains."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", 0.5 + torch.rand(16))

    def between(self, x: Tensor) -> Tensor:
        return F.relu(x * self.scale.view(1, -1, 1, 1))


class LayerScale(Sandwich):
    """Scales a residual branch by a parameter that is shaped to broadcast."""

    def __init__(self) -> None:
        super().__init__(12, 12)
        self.branch = nn.Conv2d(12, 12, 3, padding=1)
        self.gamma = nn.Parameter(1e-2 * torch.ones(1, 12, 1, 1))

    def between(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.gamma * self.branch(x))


class SqueezeExcite(Sandwich):
    """Gates every channel by what all channels said together."""

    def __init__(self, convolve: bool) -> None:
        super().__init__()
        self.convolve = convolve
        self.reduce: nn.Module = nn.Conv2d(16, 4, 1) if convolve else nn.Linear(16, 4)
        self.expand: nn.Module = nn.Conv2d(4, 16, 1) if convolve else nn.Linear(4, 16)

    def between(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        n, c, _, _ = x.shape
        squeezed = F.adaptive_avg_pool2d(x, 1)
        if not self.convolve:
            squeezed = squeezed.view(n, c)
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(squeezed))))
        return x * gate.view(n, c, 1, 1)


def _blocked_between(name: str, factory: type[Sandwich]) -> Specimen:
    """Write the row of a mechanism that nothing may be cut through."""
    return Specimen(
        name,
        planted(factory),
        images(3, 6),
        tags("cnn must_block"),
        blocks=ends("conv1", "fc") + axes("conv1.weight:0 conv1.bias:0 conv2.weight:1"),
        prunable=axes("conv2.weight:0"),
        tied=ties("conv2.weight:0 conv2.bias:0 fc.weight:1"),
    )


def _squeeze_excite(name: str, convolve: bool) -> Specimen:
    return Specimen(
        name,
        planted(SqueezeExcite, convolve),
        images(3, 6),
        tags("cnn gate"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 reduce.weight:0 conv2.weight:0"),
        tied=ties(
            "conv1.weight:0 reduce.weight:1 expand.weight:0 expand.bias:0 conv2.weight:1",
            "reduce.weight:0 reduce.bias:0 expand.weight:1",
        ),
    )


SPECIMENS = (
    _blocked_between("flip", Flip),
    _blocked_between("roll", Roll),
    Specimen(
        "softmax_channels",
        planted(Softmax),
        images(3, 6),
        tags("cnn statistics"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv1.bias:0 conv2.weight:1", "conv2.weight:0 conv2.bias:0 fc.weight:1"),
    ),
    _blocked_between("arange_constant", Ramp),
    Specimen(
        "spatial_attention",
        planted(SpatialAttention),
        images(3, 6),
        tags("cnn gate must_block"),
        blocks=ends("conv1", "fc") + axes("conv2.weight:0 conv2.bias:0 fc.weight:1 attend.weight:0 attend.weight:1"),
        prunable=axes("conv1.weight:0"),
        tied=ties("conv1.weight:0 conv2.weight:1"),
    ),
    Specimen(
        "concat_input",
        planted(ConcatInput),
        images(3, 6),
        tags("cnn concat"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv2.weight:1"),
    ),
    Specimen(
        "concat_coordinates",
        planted(Coordinates),
        images(3, 6),
        tags("cnn concat"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv2.weight:1"),
    ),
    Specimen(
        "slice_assignment",
        planted(SliceAssignment),
        images(3, 6),
        tags("cnn balance may_block"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 conv2.weight:0"),
        tied=ties("stem.weight:0 conv1.weight:1 side.weight:1"),
    ),
    Specimen(
        "broadcast_sum",
        planted(BroadcastSum),
        images(3, 6),
        tags("cnn residual"),
        blocks=ends("conv1", "fc") + axes("one.weight:0 one.bias:0"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 one.weight:1 conv2.weight:1"),
    ),
    Specimen(
        "channel_buffer",
        planted(ChannelBuffer),
        images(3, 6),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 scale:0"),
        tied=ties("conv1.weight:0 scale:0 conv2.weight:1"),
    ),
    Specimen(
        "layer_scale",
        planted(LayerScale),
        images(3, 6),
        tags("cnn residual"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 gamma:1"),
        tied=ties("conv1.weight:0 branch.weight:0 branch.weight:1 gamma:1 conv2.weight:1"),
    ),
    _squeeze_excite("squeeze_excite_conv", True),
    _squeeze_excite("squeeze_excite_linear", False),
)
