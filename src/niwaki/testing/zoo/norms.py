"""Norms, activations and weights that are not what the batch-norm CNN leads one to expect."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from niwaki.testing.zoo.grouped import Sandwich
from niwaki.testing.zoo.nursery import Specimen, axes, ends, floats, images, planted, tags, ties


class Normed(Sandwich):
    """A sandwich with any one norm of 16 channels between."""

    def __init__(self, between: str) -> None:
        super().__init__()
        self.norm: nn.Module = {
            "group_norm": lambda: nn.GroupNorm(4, 16),
            "instance_norm": lambda: nn.InstanceNorm2d(16, affine=True),
            "no_affine": lambda: nn.BatchNorm2d(16, affine=False),
        }[between]()

    def between(self, x: Tensor) -> Tensor:
        return F.relu6(self.norm(x))


class Prelu(Sandwich):
    """Learns the negative slope of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.PReLU(16)

    def between(self, x: Tensor) -> Tensor:
        return self.act(x)


class LayerNormMlp(nn.Module):
    """Normalises over the hidden features themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 16)
        self.norm = nn.LayerNorm(16)
        self.fc2 = nn.Linear(16, 12)
        self.fc3 = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.fc1(x)))
        return self.fc3(F.silu(self.fc2(x)))


class StandardisedConv2d(nn.Conv2d):
    """Takes the mean over its inputs out of each filter before it convolves."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class WeightStandardised(Sandwich):
    """A standardised convolution in the middle: without some of its inputs, each filter has another mean."""

    def __init__(self) -> None:
        super().__init__(8, 12)
        self.standard = StandardisedConv2d(8, 12, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.standard(F.relu(x)))


class WeightNormed(Sandwich):
    """A convolution whose weight is computed from a length and a direction."""

    def __init__(self) -> None:
        super().__init__(8, 12)
        self.normed = weight_norm(nn.Conv2d(8, 12, 3, padding=1))

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.normed(F.relu(x)))


SPECIMENS = (
    Specimen(
        "group_norm",
        planted(Normed, "group_norm"),
        images(3, 6),
        tags("cnn norm balance statistics"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 norm.weight:0 norm.bias:0 conv2.weight:1"),
    ),
    Specimen(
        "instance_norm",
        planted(Normed, "instance_norm"),
        images(3, 6),
        tags("cnn norm"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 norm.weight:0 norm.bias:0 conv2.weight:1"),
    ),
    Specimen(
        "batch_norm_no_affine",
        planted(Normed, "no_affine"),
        images(3, 6),
        tags("cnn norm"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 norm.running_mean:0 norm.running_var:0 conv2.weight:1"),
    ),
    Specimen(
        "prelu_channels",
        planted(Prelu),
        images(3, 6),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 act.weight:0 conv2.weight:1"),
    ),
    Specimen(
        "layer_norm_mlp",
        planted(LayerNormMlp),
        floats((2, 3, 6)),
        tags("mlp norm statistics"),
        blocks=ends("fc1", "fc3"),
        prunable=axes("fc1.weight:0 fc2.weight:0"),
        tied=ties("fc1.weight:0 norm.weight:0 norm.bias:0 fc2.weight:1", "fc2.weight:0 fc3.weight:1"),
    ),
    Specimen(
        "weight_standardised",
        planted(WeightStandardised),
        images(3, 6),
        tags("cnn statistics"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 standard.weight:0 conv2.weight:0"),
        tied=ties("standard.weight:0 standard.bias:0 conv2.weight:1", "conv1.weight:0 conv1.bias:0 standard.weight:1"),
    ),
    Specimen(
        "weight_norm",
        planted(WeightNormed),
        images(3, 6),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0 normed.bias:0"),
        tied=ties("normed.bias:0 conv2.weight:1"),
    ),
)
