"""VGG-19 with batch norm for CIFAR: sixteen convolutions and one linear layer.

Simonyan and Zisserman, Very Deep Convolutional Networks, 2015, configuration E; the three linear layers are one, and
every convolution is followed by a batch norm, as pruning papers have it for small images.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of convolutions of each stage; the image is halved between stages."""


class CifarVgg(nn.Module):
    """``features`` (convolution, batch norm, ReLU; pooling between the stages) and a linear ``classifier``."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features())
        self.classifier = nn.Linear(STAGES[-1][0], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, 32, 32); sides of 16 and more work."""
        x = F.adaptive_avg_pool2d(self.features(images), 1)
        return self.classifier(torch.flatten(x, 1))


def vgg19(classes: int = 100) -> CifarVgg:
    """The network with fresh weights from the global generator.

    Raises:
        BadInput: there is no class.
    """
    if classes < 1:
        raise BadInput(f"A classifier needs at least one class, not {classes}.")
    return CifarVgg(classes)


def _features() -> Iterator[nn.Module]:
    width_in = 3
    for stage, (width, convolutions) in enumerate(STAGES):
        if stage:
            yield nn.MaxPool2d(2)
        for _ in range(convolutions):
            yield _conv(width_in, width)
            yield nn.BatchNorm2d(width)
            yield nn.ReLU()
            width_in = width


def _conv(width_in: int, width: int) -> nn.Conv2d:
    conv = nn.Conv2d(width_in, width, 3, padding=1, bias=False)  # the batch norm after it has the bias
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
