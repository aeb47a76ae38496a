"""CIFAR-10 and CIFAR-100 for recipes: networks, batches and accuracy, all on the device."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import nn

from niwaki.errors import BadInput, nearest
from niwaki.vision import cifar, resnet_cifar, vgg_cifar
from niwaki.vision.images import Batches, Images
from niwaki.vision.jobs.place import device, folder, settled

READERS = {"cifar10": cifar.cifar10, "cifar100": cifar.cifar100}


def resnet(depth: int = 56, classes: int = 10) -> nn.Module:
    """A CIFAR ResNet with fresh weights; see `niwaki.vision.resnet_cifar.resnet`."""
    return settled(resnet_cifar.resnet(depth, classes))


def vgg19(classes: int = 100) -> nn.Module:
    """VGG-19 with fresh weights; see `niwaki.vision.vgg_cifar.vgg19`."""
    return settled(vgg_cifar.vgg19(classes))


def batches(name: str = "cifar10", size: int = 128, seed: int = 0) -> Batches:
    """Augmented and normalised training batches; ``name``: cifar10 or cifar100. ``size``: images in a batch."""
    return images(name).batches(size, seed, channels_last=True)


def accuracy(model: nn.Module, name: str = "cifar10") -> float:
    """Share of the test images that the model names right, 0 to 1."""
    return images(name).accuracy(model)


def images(name: str) -> Images:
    """A data set from its folder in ``NIWAKI_DATA``, read once.

    Raises:
        BadInput: it is not called so, or not there, or not whole.
    """
    if name not in READERS:
        raise BadInput(f"No data set is called {name!r}{nearest(name, READERS) or '.'} Known: {', '.join(READERS)}.")
    return _read(name, folder(name), device())


@cache
def _read(name: str, place: Path, home: torch.device) -> Images:
    return READERS[name](place).to(home)


__all__ = ["accuracy", "batches", "images", "resnet", "vgg19"]
