"""Open image files with Pillow, and say plainly what is wrong with those that cannot be read."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
