"""ImageNet, or pictures of one's own: folders of class folders, decoded by workers and normalised on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from niwaki.errors import BadInput
from niwaki.vision.crops import AREA, central_view, random_view
from niwaki.vision.images import Normaliser
from niwaki.vision.pictures import coloured, opened
from niwaki.vision.seeds import epoch_seed

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, scaled to 0..1
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

Key = tuple[int, int]
"""The number of a picture, and the seed of what is drawn at random about it."""


@dataclass(frozen=True)
class Listing:
    """Pictures and the numbers of their classes.

    Attributes:
        files: one for each picture.
        labels: one for each picture, 0 to ``len(classes)`` - 1.
        classes: the names of the class folders, sorted; a label is a place among them.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class Folders:
    """What is in a folder with ``train`` and ``val``; None for the one that it does not have."""

    train: Listing | None
    val: Listing | None


def read(folder: Path | str) -> Folders:
    """List the pictures in ``train/CLASS/`` and ``val/CLASS/``, or in the one of both that there is.

    Raises:
        BadInput: there is neither, a class is empty, or the two have different classes.
    """
    folder = Path(folder)
    train, val = (listing(folder / part) if (folder / part).is_dir() else None for part in ("train", "val"))
    if train is None and val is None:
        raise BadInput(f"{folder} has neither a folder train nor a folder val; name the folder that holds them.")
    if train is not None and val is not None and train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise BadInput(
            f"train and val in {folder} have different classes: {', '.join(odd[:5])}{', …' if len(odd) > 5 else ''} "
            f"in one of them only, so that labels would differ. Make the class folders the same."
        )
    return Folders(train, val)


def listing(folder: Path | str) -> Listing:
    """List the pictures of each class folder, sorted by name; other files are passed over.

    Raises:
        BadInput: there is no class folder, or one without a picture.
    """
    folder = Path(folder)
    places = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.name) if folder.is_dir() else []
    if not places:
        raise BadInput(f"{folder} has no class folders; it should have a folder of pictures for each class.")
    files: list[Path] = []
    labels: list[int] = []
    for label, place in enumerate(places):
        found = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise BadInput(f"{place} has no picture ({', '.join(SUFFIXES)}); fill it, or remove the folder.")
        files += found
        labels += [label] * len(found)
    return Listing(tuple(files), tuple(labels), tuple(place.name for place in places))


class FolderBatches:
    """Normalised batches (N x 3 x side x side, and int64 N) of pictures, decoded anew each time one iterates.

    For training, in an order and in random windows that depend on ``seed`` and ``epoch`` alone, whatever the number of
    workers; ``epoch`` goes up by one with each iteration and may be set. Pictures that do not fill a last batch are
    left out. For testing, every picture once, in order: scaled and cut in the middle. Workers serve one iteration at a
    time: where a new one has begun, the one before does not go on.

    Pictures are turned as their EXIF says, and stand on black where they are transparent.

    Args:
        pictures: from `read` or `listing`.
        size: pictures in a batch.
        seed: of the order and of the windows.
        training: or testing.
        side: pixels of a view. For testing, the picture is scaled before to a shorter side of 8/7 of that.
        area: the smallest and the largest share of a picture that a random window has, above 0 and up to 1.
        workers: processes that decode; 0 decodes in this one.
        mean, std: what is normalised by, as in `niwaki.vision.images.Normaliser`.
        device: where the batches are made; the pictures travel as bytes.
        dtype: of the batches.
        channels_last: lay the batches out so, which is faster for convolutions in low precision.

    Raises:
        BadInput: there are too few pictures for a batch; no such area; while iterating, a picture cannot be read, or an
            iteration goes on after workers have begun another.
    """

    def __init__(
        self,
        pictures: Listing,
        size: int = 256,
        seed: int = 0,
        *,
        training: bool = True,
        side: int = 224,
        area: Sequence[float] = AREA,
        workers: int = 0,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        if size < 1 or (training and size > len(pictures)):
            raise BadInput(f"A batch of {size} cannot be drawn from {len(pictures)} pictures; ask for fewer.")
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise BadInput(
                "area is the smallest and the largest share of a picture that a window has, above 0 and up to 1, such "
                f"as (0.08, 1.0), not {area!r}."
            )
        self._order = _Order(len(pictures), size, seed, training)
        self._device = torch.device(device)
        self._normalised = Normaliser(mean, std, device, dtype)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._loader: DataLoader[Any] = DataLoader(
            _Views(pictures, training, side, (area[0], area[1])),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._device.type == "cuda",
            # Its own, or each epoch would draw a number from the global one.
            generator=torch.Generator(),
        )
        self._begun = 0  # iterations so far

    @property
    def epoch(self) -> int:
        """The number of the next epoch."""
        return self._order.epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._order.epoch = number

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = iter(self._loader)
        self.epoch += 1
        self._begun += 1
        return self._batches(batches, self._begun)

    def _batches(self, batches: Iterator[tuple[Tensor, Tensor]], number: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            # Workers that live on have one line of batches: the older iteration would take those of the newer.
            if number < self._begun and self._loader.num_workers:
                raise BadInput(
                    "An earlier iteration over these batches goes on after another has begun, and workers serve one at "
                    "a time; make a second FolderBatches for it, or take workers=0."
                )
            found = next(batches, None)
            if found is None:
                return
            yield self._finished(*found)

    def _finished(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        images = self._normalised(pixels).contiguous(memory_format=self._layout)
        return images, labels.to(self._device, non_blocking=True)


class _Order:
    """The keys of one epoch after the other, drawn as each begins and in the main process: workers need not know it."""

    def __init__(self, count: int, size: int, seed: int, training: bool) -> None:
        self.count, self.size, self.seed, self.training = count, size, seed, training
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self.count // self.size if self.training else -(-self.count // self.size)

    def __iter__(self) -> Iterator[list[Key]]:
        """What the epoch consists of, batch by batch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator) if self.training else torch.arange(self.count)
        seeds = torch.randint(2**62, (self.count,), generator=generator)
        keys = list(zip(order.tolist(), seeds.tolist(), strict=True))
        return (keys[start : start + self.size] for start in range(0, len(self) * self.size, self.size))


class _Views(Dataset[tuple[Tensor, int]]):
    """The view of the picture with a key: bytes, side x side x 3, and its label."""

    def __init__(self, pictures: Listing, training: bool, side: int, area: tuple[float, float]) -> None:
        self._pictures, self._training, self._side, self._area = pictures, training, side, area

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        number, seed = key
        path = self._pictures.files[number]
        with opened(path) as file:
            picture = coloured(file, path)
        if self._training:
            view = random_view(picture, self._side, Random(seed), self._area)
        else:
            view = central_view(picture, self._side, self._side * 8 // 7)
        return torch.from_numpy(np.array(view)), self._pictures.labels[number]
