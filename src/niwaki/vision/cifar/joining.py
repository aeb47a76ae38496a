"""A part of a data set from several pictures of many images, and the labels of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from niwaki.errors import BadInput
from niwaki.vision.cifar.edition import Part


def joined(
    source: Path,
    labels: np.ndarray,
    paths: Sequence[Path],
    read: Callable[[Path, int], np.ndarray],
    holders: str,
    advice: str,
) -> Part:
    """The images of all files, one for each label.

    Args:
        source: the file of the labels. paths: of the pictures, in order. read: gives the images of a file, of which it
            may have so many. holders, advice: for the error: what holds the images, and what to do.

    Raises:
        BadInput: there are more labels than images.
    """
    images, left = [], len(labels)
    for path in paths:
        images.append(read(path, left))
        left -= len(images[-1])
    if left:
        held = len(labels) - left
        raise BadInput(f"{source} labels {len(labels)} images, but {holders} hold {held}; {advice}.")
    return Part(np.concatenate(images), labels)


__all__ = ["joined"]
