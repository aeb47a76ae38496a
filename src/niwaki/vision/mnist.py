"""MNIST (LeCun, Cortes and Burges), read from a folder with its four IDX files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from niwaki.errors import BadInput, BrokenFile
from niwaki.vision.idx import ENDINGS, read_idx

MEAN, STD = 0.1307, 0.3081  # of the 60,000 training images, pixels scaled to 0..1
CLASSES = 10


@dataclass(frozen=True, eq=False)
class Digits:
    """Training and test images as rows of pixels (uint8, N x 784) with their digits (int64, N).

    Raises:
        BadInput: a tensor has another type or shape, or a label is no digit.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    def __post_init__(self) -> None:
        for pixels, labels in ((self.train, self.train_labels), (self.test, self.test_labels)):
            if pixels.dtype != torch.uint8 or pixels.dim() != 2:
                raise BadInput(f"images are rows of bytes, uint8 N x pixels, not {pixels.dtype} {tuple(pixels.shape)}")
            if labels.shape != (len(pixels),):
                raise BadInput(f"{len(pixels)} images have one label each, not {tuple(labels.shape)}")
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < CLASSES:
                raise BadInput(f"labels are 0 to 9; found {int(labels.min())} to {int(labels.max())}")

    def to(self, device: torch.device | str) -> Digits:
        """The same on that device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})

    def first(self, count: int) -> Digits:
        """Only so many training and test images, to try something."""
        return Digits(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))


def normalise(pixels: Tensor) -> Tensor:
    """uint8 pixels of any shape -> float32 of the same shape, about zero mean and unit variance."""
    return pixels.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)


def mnist(folder: Path | str | os.PathLike[str]) -> Digits:
    """Read ``train-images-idx3-ubyte`` and its three sisters, each plain, ``.gz`` or ``.xz``.

    Names with a dot (``train-images.idx3-ubyte``) are found too. Nothing is downloaded.

    Raises:
        BadInput: a file is not there. BrokenFile: one is damaged, or images and labels differ in number.
    """
    folder = Path(folder).expanduser()
    parts = []
    for part in ("train", "t10k"):
        images = read_idx(_find(folder, part, "images", 3))
        labels = read_idx(_find(folder, part, "labels", 1))
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise BrokenFile(f"{folder}: the {part} images are {images.shape} and their labels {labels.shape}")
        parts += [torch.from_numpy(images).flatten(1), torch.from_numpy(labels).long()]
    return Digits(*parts)


def _find(folder: Path, part: str, what: str, rank: int) -> Path:
    names = [f"{part}-{what}{dot}idx{rank}-ubyte{ending}" for dot in "-." for ending in ENDINGS]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"{folder} has no {names[0]}, plain, .gz or .xz; put the four files of MNIST there")


__all__ = ["CLASSES", "MEAN", "STD", "Digits", "mnist", "normalise"]
