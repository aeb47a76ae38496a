"""The two views of a picture that ImageNet networks are trained and tested on."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]
"""Left, upper, right and lower border, in pixels from the picture's left upper corner."""

AREA = (0.08, 1.0)
"""Smallest and largest share of the picture that a random window has, as Szegedy et al. propose (Going Deeper with
Convolutions, 2015, section 6)."""
ASPECT = (3 / 4, 4 / 3)
"""Narrowest and widest shape of it, width by height."""
TRIES = 10


def random_view(picture: Image, side: int, draw: Random, area: tuple[float, float] = AREA) -> Image:
    """A random window scaled to side x side pixels, mirrored with an even chance; ``area`` as for `random_window`."""
    from PIL.Image import Resampling, Transpose

    view = picture.crop(random_window(*picture.size, draw, area)).resize((side, side), Resampling.BILINEAR)
    return view.transpose(Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else view


def central_view(picture: Image, side: int, short: int) -> Image:
    """The middle side x side pixels of the picture, scaled so that its shorter side has ``short``."""
    from PIL.Image import Resampling

    width, height = scaled(*picture.size, short)
    left, upper = round((width - side) / 2), round((height - side) / 2)
    return picture.resize((width, height), Resampling.BILINEAR).crop((left, upper, left + side, upper + side))


def random_window(width: int, height: int, draw: Random, area: tuple[float, float] = AREA) -> Box:
    """A window inside the picture: its share of the area evenly distributed between the two that are given, its shape
    on a log scale, its place evenly.

    Where ten draws do not fit into the picture, the middle of it, as near to its shape as `ASPECT` allows.
    """
    for _ in range(TRIES):
        pixels = width * height * draw.uniform(*area)
        aspect = math.exp(draw.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        across, down = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, upper = draw.randint(0, width - across), draw.randint(0, height - down)
            return left, upper, left + across, upper + down
    return middle_window(width, height)


def middle_window(width: int, height: int) -> Box:
    """The largest window in the middle that is no narrower and no wider than `ASPECT`."""
    across = max(1, min(width, round(height * ASPECT[1])))
    down = max(1, min(height, round(width / ASPECT[0])))
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def scaled(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height with the shorter of the two made ``short``, the other rounded down."""
    if width <= height:
        return short, short * height // width
    return short * width // height, short
