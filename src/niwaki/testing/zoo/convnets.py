"""Networks that run straight through, and those that concatenate: VGG, DenseNet, Inception, U-Net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.nursery import Specimen, axes, ends, floats, images, planted, tags, ties


class Vgg(nn.Module):
    """Flattens with 2x2 pixels left, so each channel owns four columns of the classifier."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for out in (8, 12, 16):
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)]
            width = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(16 * 2 * 2, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(torch.flatten(x, 1))


class VggPooled(nn.Module):
    """Pools to one pixel and squeezes it away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(self.pool(x).squeeze(-1).squeeze(-1))


class BiasFree(nn.Module):
    """Convolutions without a bias, with batch norm and dropout behind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.drop1 = nn.Dropout2d(0.2)
        self.conv2 = nn.Conv2d(8, 12, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.drop2 = nn.Dropout(0.5)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop1(F.relu(self.bn1(self.conv1(x))))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(self.drop2(x.mean(dim=(2, 3))))


class ChannelsLast(nn.Module):
    """Permutes before it flattens: a channel's columns lie far apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.fc = nn.Linear(3 * 3 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x)).permute(0, 2, 3, 1)
        return self.fc(x.flatten(1))


class Signal(nn.Module):
    """A dilated stack over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm1d(8)
        self.conv2 = nn.Conv1d(8, 12, 3, padding=2, dilation=2)
        self.bn2 = nn.BatchNorm1d(12)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.leaky_relu(self.bn2(self.conv2(x)), 0.1)
        return self.fc(F.adaptive_max_pool1d(x, 1).flatten(1))


class Volume(nn.Module):
    """Convolves over three dimensions of space."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm3d(6)
        self.conv2 = nn.Conv3d(6, 8, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool3d(F.relu(self.bn1(self.conv1(x))), 2)
        return self.fc(F.elu(self.conv2(x)).mean((2, 3, 4)))


class DenseLayer(nn.Module):
    """Normalises all that came before, and appends a few channels of its own."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.conv(F.relu(self.norm(torch.cat(features, 1))))


class DenseNet(nn.Module):
    """A dense block of two layers, a transition, and a head."""

    def __init__(self, width: int = 8, growth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(DenseLayer(width + i * growth, growth) for i in range(2))
        wide = width + 2 * growth
        self.norm = nn.BatchNorm2d(wide)
        self.transition = nn.Conv2d(wide, wide // 2, 1, bias=False)
        self.fc = nn.Linear(wide // 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(features))
        x = self.transition(F.relu(self.norm(torch.cat(features, 1))))
        return self.fc(F.avg_pool2d(x, 2).mean((2, 3)))


class Inception(nn.Module):
    """Concatenates branches of unequal width, one of them a pooled copy of the trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.point = nn.Conv2d(8, 4, 1)
        self.wide = nn.Sequential(nn.Conv2d(8, 3, 1), nn.ReLU(), nn.Conv2d(3, 6, 3, padding=1))
        self.fc = nn.Linear(4 + 6 + 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        x = torch.cat([self.point(x), self.wide(x), pooled], dim=1)
        return self.fc(F.relu(x).mean((-2, -1)))


class UNet(nn.Module):
    """One step down and up again, with the skip concatenated; the way up is learned or bilinear."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        self.enc1 = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.enc2 = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.up: nn.Module
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        else:
            self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.dec = nn.Conv2d(8 + (12 if bilinear else 6), 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enc1(x)
        x = self.enc2(F.max_pool2d(skip, 2))
        x = torch.cat([skip, self.up(x)], dim=1)
        return self.head(F.relu(self.dec(x)))


SPECIMENS = (
    Specimen(
        "vgg_flatten",
        planted(Vgg),
        images(3, 16),
        tags("cnn"),
        blocks=ends("features.0", "classifier.3"),
        prunable=axes("features.0.weight:0 features.4.weight:0 features.8.weight:0 classifier.0.weight:0"),
        tied=ties(
            "features.0.weight:0 features.0.bias:0 features.1.weight:0 features.1.running_mean:0 "
            "features.1.running_var:0 features.4.weight:1",
            "features.8.weight:0 features.9.bias:0 classifier.0.weight:1",
            "classifier.0.weight:0 classifier.0.bias:0 classifier.3.weight:1",
        ),
    ),
    Specimen(
        "vgg_pooled",
        planted(VggPooled),
        images(3, 8),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 bn1.weight:0 conv2.weight:1", "conv2.weight:0 bn2.bias:0 fc.weight:1"),
    ),
    Specimen(
        "bias_free",
        planted(BiasFree),
        images(3, 8),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 bn1.bias:0 conv2.weight:1", "conv2.weight:0 bn2.running_var:0 fc.weight:1"),
    ),
    Specimen(
        "channels_last_flatten",
        planted(ChannelsLast),
        images(3, 7),
        tags("cnn"),
        blocks=ends("conv", "fc"),
        prunable=axes("conv.weight:0"),
        tied=ties("conv.weight:0 conv.bias:0 fc.weight:1"),
    ),
    Specimen(
        "conv1d",
        planted(Signal),
        floats((2, 2, 12)),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 bn1.weight:0 conv2.weight:1", "conv2.weight:0 bn2.weight:0 fc.weight:1"),
    ),
    Specimen(
        "conv3d",
        planted(Volume),
        floats((2, 1, 6, 6, 6)),
        tags("cnn"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 bn1.running_mean:0 conv2.weight:1", "conv2.weight:0 fc.weight:1"),
    ),
    Specimen(
        "densenet",
        planted(DenseNet),
        images(3, 8),
        tags("cnn concat"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 layers.0.conv.weight:0 layers.1.conv.weight:0 transition.weight:0"),
        tied=ties(
            "stem.weight:0 layers.0.norm.weight:0 layers.0.conv.weight:1 layers.1.norm.running_var:0 "
            "layers.1.conv.weight:1 norm.weight:0 transition.weight:1",
            "layers.0.conv.weight:0 layers.1.norm.weight:0 layers.1.conv.weight:1 transition.weight:1",
            "layers.1.conv.weight:0 norm.bias:0 transition.weight:1",
            "transition.weight:0 fc.weight:1",
        ),
    ),
    Specimen(
        "inception",
        planted(Inception),
        images(3, 8),
        tags("cnn concat"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 point.weight:0 wide.0.weight:0 wide.2.weight:0"),
        tied=ties(
            "stem.weight:0 point.weight:1 wide.0.weight:1 fc.weight:1",
            "point.weight:0 point.bias:0 fc.weight:1",
            "wide.0.weight:0 wide.2.weight:1",
            "wide.2.weight:0 fc.weight:1",
        ),
    ),
    Specimen(
        "unet_transposed",
        planted(UNet, False),
        images(3, 8),
        tags("cnn concat transposed"),
        blocks=ends("enc1.0", "head"),
        prunable=axes("enc1.0.weight:0 enc2.0.weight:0 up.weight:1 dec.weight:0"),
        tied=ties(
            "enc1.0.weight:0 enc1.1.weight:0 enc2.0.weight:1 dec.weight:1",
            "enc2.0.weight:0 enc2.1.weight:0 up.weight:0",
            "up.weight:1 up.bias:0 dec.weight:1",
            "dec.weight:0 head.weight:1",
        ),
    ),
    Specimen(
        "unet_bilinear",
        planted(UNet, True),
        images(3, 8),
        tags("cnn concat"),
        blocks=ends("enc1.0", "head"),
        prunable=axes("enc1.0.weight:0 enc2.0.weight:0 dec.weight:0"),
        tied=ties(
            "enc1.0.weight:0 enc1.1.weight:0 enc2.0.weight:1 dec.weight:1",
            "enc2.0.weight:0 enc2.1.weight:0 dec.weight:1",
            "dec.weight:0 head.weight:1",
        ),
    ),
)
