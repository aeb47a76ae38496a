"""What there is to know about CIFAR-10 and CIFAR-100 before a file is opened.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; the binary form is described on the data set's
own page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

SIDE = 32
"""Pixels of an image, each way."""
PIXELS = 3 * SIDE * SIDE
"""Bytes of an image."""
MOST = 50_000
"""Images in the largest part."""


@dataclass(frozen=True)
class Edition:
    """One of the two data sets.

    Attributes:
        mean, std: what the literature normalises by.
        labels: bytes in front of each image in the binary form; the last one is the class.
        folder, archive: names of the binary form, unpacked and packed.
        train, test: the binary files in it.
        refused: names by which the pickled form for Python is known.
        strips: whether the form of PNG files exists.
    """

    name: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    labels: int
    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    refused: tuple[str, ...]
    strips: bool


@dataclass(frozen=True, eq=False)
class Part:
    """Images (uint8, N x 3 x 32 x 32) and their class numbers (int64, N)."""

    images: np.ndarray
    labels: np.ndarray


CIFAR10: Final = Edition(
    name="CIFAR-10",
    classes=10,
    # Of ImageNet: the loaders of the papers, and so the checkpoints, take these.
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    labels=1,
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    refused=("cifar-10-python.tar.gz", "cifar-10-batches-py", "batches.meta", "data_batch_1"),
    strips=True,
)
CIFAR100: Final = Edition(
    name="CIFAR-100",
    classes=100,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    labels=2,
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    train=("train.bin",),
    test="test.bin",
    refused=("cifar-100-python.tar.gz", "cifar-100-python", "meta", "train"),
    strips=False,
)
