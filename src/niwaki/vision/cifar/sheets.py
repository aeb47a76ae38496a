"""Lossless WebP sheets of 32x32 tiles, row by row, with the labels beside them as NumPy arrays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from niwaki.errors import BadInput
from niwaki.vision.cifar.edition import MOST, SIDE, Edition, Part
from niwaki.vision.cifar.joining import joined
from niwaki.vision.pictures import opened


def found(folder: Path, edition: Edition) -> bool:
    """Whether any such file is there; which of the two data sets it is shows in the labels."""
    return any(_sheets(folder, part) or _labels_path(folder, part).exists() for part in ("train", "test"))


def read(folder: Path, edition: Edition) -> tuple[Part, Part]:
    """The training and the test part. A sheet has as many tiles as its size allows.

    Raises:
        BadInput: a file is missing, damaged or too large, or there are not as many tiles as labels.
    """
    return _part(folder, "train"), _part(folder, "test")


def _part(folder: Path, part: str) -> Part:
    source = _labels_path(folder, part)
    labels, paths = _labels(source), _in_order(folder, part)
    return joined(source, labels, paths, _tiles, f"the {len(paths)} sheets beside it", "copy the missing sheets")


def _tiles(path: Path, most: int) -> np.ndarray:
    """The images of a sheet, uint8, N x 3 x 32 x 32."""
    with opened(path, ["WEBP"]) as picture:
        width, height = picture.size
        across, down = width // SIDE, height // SIDE
        if (across * SIDE, down * SIDE) != (width, height):
            raise BadInput(f"{path} is {width} x {height} pixels, not a whole number of {SIDE} x {SIDE} tiles.")
        # Before anything is decoded: a small file can claim a great many pixels.
        if across * down > most:
            raise BadInput(f"{path} holds {across * down} tiles, where {most} labels are left; copy both again.")
        pixels = np.asarray(picture.convert("RGB"))
    grid = pixels.reshape(down, SIDE, across, SIDE, 3)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 1, 3)).reshape(-1, 3, SIDE, SIDE)


def _labels(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header that promises more than the file has is refused; objects are refused too.
        labels = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; the sheets are of no use without it: copy it again.") from error
    except (OSError, ValueError, TypeError, SyntaxError, OverflowError) as error:
        raise BadInput(f"{path} is no NumPy array of numbers ({error}); it is damaged: copy it again.") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not 1 <= len(labels) <= MOST:
        raise BadInput(
            f"{path} holds {labels.dtype} of shape {labels.shape}, where 1 to {MOST} whole numbers in a row are due."
        )
    return np.array(labels, dtype=np.int64)


def _in_order(folder: Path, part: str) -> list[Path]:
    """The sheets by their number, which counts from 0 without a gap."""
    paths = _sheets(folder, part)
    if not paths:
        raise BadInput(f"{folder} has labels of the {part} images, but no {part}_00.webp; copy the sheets too.")
    for number in range(len(paths)):
        if number not in paths:
            raise BadInput(f"{folder} has {len(paths)} {part} sheets, but not number {number:02}; copy it too.")
    return [paths[number] for number in range(len(paths))]


def _sheets(folder: Path, part: str) -> dict[int, Path]:
    matches = ((re.fullmatch(rf"{part}_(\d\d)\.webp", path.name), path) for path in folder.glob(f"{part}_*.webp"))
    return {int(match[1]): path for match, path in matches if match}


def _labels_path(folder: Path, part: str) -> Path:
    return folder / f"{part}_labels.npy"
