"""Which widths of a group are worth having."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from niwaki.forecast.forecast import Forecast
from niwaki.forecast.layers import Layer
from niwaki.forecast.shapes import Stairs
from niwaki.graph.work import Length
from niwaki.units import Group


@dataclass(frozen=True)
class Likes:
    """What the layers of a group like: its units in multiples of ``multiple``; other numbers cost up to ``dearer`` (a
    share) more than the next of those, in the ``layer`` that minds most."""

    group: Group
    multiple: int = 1
    dearer: float = 0.0
    layer: str = ""


def liked(forecast: Forecast) -> dict[str, Likes]:
    """For every group of the graph, by name."""
    return {group.name: _likes(forecast, group) for group in forecast.graph.groups}


def _likes(forecast: Forecast, group: Group) -> Likes:
    found = Likes(group)
    mine = forecast.graph.removed_atoms({group.name: tuple(range(len(group)))})
    for layer in forecast.layers.layers:
        for length, stairs in _sides(forecast, layer):
            if not isinstance(length, np.ndarray) or not mine[length].any():
                continue
            each = max(1, round(int(mine[length].sum()) / len(group) / layer.shape.channels))
            multiple = stairs.multiple // math.gcd(stairs.multiple, each)
            if (multiple, stairs.dearer) > (found.multiple, found.dearer):
                found = Likes(group, multiple, stairs.dearer, layer.module)
    return found


def _sides(forecast: Forecast, layer: Layer) -> list[tuple[Length, Stairs]]:
    rows, columns = forecast.surfaces[layer.shape].stairs
    return [(layer.work.made, rows), (layer.work.taken, columns)]


__all__ = ["Likes", "liked"]
