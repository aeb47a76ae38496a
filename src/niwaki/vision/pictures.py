"""Open image files with Pillow, and say plainly what is wrong with those that cannot be read."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from niwaki.errors import BadInput, require_extra

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
"""Those that are decoded at all: each decoder less is one less to attack."""


@contextmanager
def opened(path: Path, formats: Sequence[str] = FORMATS) -> Iterator[Image]:
    """The picture in a file; its size is known, its pixels are decoded when asked for.

    Raises:
        MissingExtra: Pillow is not installed.
        BadInput: the file is missing, damaged, of another format, or far too large. Also for an error of that kind
            while the pixels are decoded inside the ``with``.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise require_extra("Pillow", "vision") from error
    try:
        with Image.open(path, formats=list(formats)) as picture:
            yield picture
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; unpack or copy the data set again.") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        kinds = " or ".join(formats)
        raise BadInput(f"{path} cannot be read as {kinds} ({error}); it is damaged: copy it again.") from error


def coloured(picture: Image, path: Path) -> Image:
    """The picture in red, green and blue, a byte each, as people see it: turned as its EXIF says, on black where it is
    transparent, 65,536 levels of grey made 256.

    Args:
        path: of its file, for errors.

    Raises:
        BadInput: its levels are of another kind, so that nobody knows which of them is white.
    """
    from PIL import Image

    picture.load()
    picture = upright(picture)
    if picture.mode.partition(";")[0] in ("I", "F"):
        return _of_bytes(picture, path).convert("RGB")
    if picture.mode[-1] in "Aa" or "transparency" in picture.info:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def upright(picture: Image) -> Image:
    """The picture (its pixels decoded already) turned as its EXIF says; one whose EXIF is damaged as it is."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # whatever Pillow meets in there: the pixels are whole
        return picture


def _of_bytes(picture: Image, path: Path) -> Image:
    """Levels of 16 bits as bytes. Pillow's own conversion cuts off at 255, which makes nearly all of it white."""
    from PIL import Image

    levels = np.asarray(picture)
    if picture.mode == "F" or levels.min() < 0 or levels.max() > 65_535:
        raise BadInput(
            f"{path} has pixels of mode {picture.mode}, from {levels.min()} to {levels.max()}; save it with 8 or 16 "
            "bits a channel."
        )
    return Image.fromarray(((levels.astype(np.int64) + 128) // 257).astype(np.uint8))
