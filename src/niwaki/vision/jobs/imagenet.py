"""ImageNet for recipes: networks, batches and accuracy; workers decode, the device normalises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from torch import nn

from niwaki.errors import BadInput
from niwaki.vision import imagenet
from niwaki.vision import mobilenet_v2 as mobilenet
from niwaki.vision.crops import AREA
from niwaki.vision.images import share_right
from niwaki.vision.jobs.place import device, folder, settled
from niwaki.vision.resnet_imagenet import resnet34, resnet50

NETWORKS = {34: resnet34, 50: resnet50}


def resnet(depth: int = 50, classes: int = 1000) -> nn.Module:
    """ResNet-34 or ResNet-50 with fresh weights.

    Raises:
        BadInput: another depth.
    """
    if depth not in NETWORKS:
        raise BadInput(f"There is no ImageNet ResNet of depth {depth} here; take {' or '.join(map(str, NETWORKS))}.")
    return settled(NETWORKS[depth](classes))


def mobilenet_v2(classes: int = 1000) -> nn.Module:
    """MobileNetV2 with fresh weights; see `niwaki.vision.mobilenet_v2.mobilenet_v2`."""
    return settled(mobilenet.mobilenet_v2(classes))


def batches(
    size: int = 256, side: int = 224, workers: int = 8, seed: int = 0, area: Sequence[float] = AREA
) -> imagenet.FolderBatches:
    """Training batches of random windows; ``size``: pictures in a batch, ``side``: pixels of a window, ``workers``:
    processes that decode, 0 for none, ``area``: the smallest and the largest share of a picture that a window has.

    Raises:
        BadInput: ``NIWAKI_DATA/imagenet/train`` is not there, or not as it should be; no such area.
    """
    return imagenet.FolderBatches(
        _part("train"), size, seed, side=side, area=area, workers=workers, device=device(), channels_last=True
    )


def accuracy(model: nn.Module, size: int = 250, side: int = 224, workers: int = 8) -> float:
    """Share of the validation pictures that the model names right, 0 to 1; arguments as for `batches`.

    Raises:
        BadInput: ``NIWAKI_DATA/imagenet/val`` is not there, or not as it should be.
    """
    pictures = imagenet.FolderBatches(
        _part("val"), size, training=False, side=side, workers=workers, device=device(), channels_last=True
    )
    return share_right(model, pictures)


def _part(name: str) -> imagenet.Listing:
    place = folder("imagenet")
    found = _read(place)
    listing = found.train if name == "train" else found.val
    if listing is None:
        raise BadInput(f"{place} has no folder {name}; put the class folders of that part there.")
    return listing


@cache
def _read(place: Path) -> imagenet.Folders:
    return imagenet.read(place)


__all__ = ["accuracy", "batches", "mobilenet_v2", "resnet"]
