"""The images of the demonstration: a part of Fashion-MNIST that comes with the package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from niwaki.vision.idx import read_idx

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
MEAN, STD = 0.2860, 0.3530  # of all 60,000 training images of Fashion-MNIST, pixels scaled to 0..1
SHIFT = 2  # pixels

_FOLDER = Path(__file__).parent / "data"
_SUMS = "SHA256SUMS"


@dataclass(frozen=True, eq=False)
class Images:
    """Training and test images (uint8, N x 1 x 28 x 28) with their class numbers (int64, N)."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load(folder: Path | str | None = None) -> Images:
    """Read the 10,000 training and 4,000 test images; every class is equally frequent in both.

    Args:
        folder: where the files are; by default, the copy in the package.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not the one that its checksum was taken of.
    """
    folder = _FOLDER if folder is None else Path(folder)
    sums = _read_sums(folder / _SUMS)

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(_read(folder / f"{name}-ubyte.xz", sums))

    return Images(
        train=tensor("train-images-idx3").unsqueeze(1),
        train_labels=tensor("train-labels-idx1").long(),
        test=tensor("test-images-idx3").unsqueeze(1),
        test_labels=tensor("test-labels-idx1").long(),
    )


def normalise(images: Tensor) -> Tensor:
    """uint8 pixels of any shape -> float32 of the same shape, about zero mean and unit variance.

    Raises:
        TypeError: the images are not uint8, so they may have been normalised already.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"expected raw uint8 pixels, got {images.dtype}: already normalised?")
    return images.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to 2 pixels a side, zeros moving in, and mirror each second one on average.

    Args:
        images: N x C x H x W, any dtype.
        generator: where the shifts and mirrorings are drawn from.
    """
    count = len(images)
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    return mirror(shift(images, down, right), mirrored)


def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move image i by `down[i]` and `right[i]` pixels (-2 to 2 each), zeros moving in."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (SHIFT,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: N x C x 5 x 5 x H x W
    return windows[torch.arange(len(images)), :, SHIFT - down, SHIFT - right]


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Swap left and right in image i where `mirrored[i]` is true."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


class Batches:
    """Normalised batches (float32 N x 1 x 28 x 28, int64 N), drawn anew each time one iterates.

    The order and the augmentation of an epoch depend on `seed + epoch` alone. `epoch` is the number of the
    next epoch: it goes up by one with each iteration, and may be set to go back or to resume. Images that
    do not fill a last batch are left out of that epoch, so that all batches have one shape.

    Args:
        images: uint8, N x 1 x H x W.
        labels: int64, N.
        size: images in a batch.
        seed: of the order and of the augmentation.
        augmented: shift and mirror the images at random (see `augment`).

    Raises:
        ValueError: images and labels differ in number, or there are too few for one batch.
    """

    def __init__(self, images: Tensor, labels: Tensor, size: int = 128, seed: int = 0, augmented: bool = True) -> None:
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images, but {len(labels)} labels")
        if not 1 <= size <= len(images):
            raise ValueError(f"a batch of {size} cannot be drawn from {len(images)} images")
        self.images, self.labels = images, labels
        self.size, self.seed, self.augmented = size, seed, augmented
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.images) // self.size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.images), generator=generator)
        return (self._batch(chosen, generator) for chosen in order.split(self.size)[: len(self)])

    def _batch(self, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = self.images[chosen]
        if self.augmented:
            images = augment(images, generator)
        return normalise(images), self.labels[chosen]


def _read_sums(path: Path) -> dict[str, str]:
    """The lines `digest  file name` of a file that `sha256sum --check` can read too."""
    lines = (line.split() for line in _bytes(path).decode().splitlines())
    return {name: digest for digest, name in lines}


def _read(path: Path, sums: dict[str, str]) -> np.ndarray:
    """The array in one xz-compressed IDX file of unsigned bytes."""
    packed = _bytes(path)
    if hashlib.sha256(packed).hexdigest() != sums.get(path.name):
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one in {_SUMS}; reinstall niwaki")
    return read_idx(path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing from the demo's data; reinstall niwaki") from error
