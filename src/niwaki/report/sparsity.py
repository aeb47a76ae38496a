"""The axis of sparsity: how far a run has come, round by round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["place_of", "sparsity_axis"]

_MOST_TICKS = 9


def place_of(left: float) -> float:
    """Along the axis, by the share of the weights that are left: equally far on where the same share of those goes."""
    return -math.log(left)


def sparsity_axis(axes: Axes, rounds: Mapping[float, float]) -> None:
    """Ticks at rounds (place to sparsity), as many as have room, from the last one on."""
    places = {place: phrase.sparsity(share) for place, share in rounds.items()}
    low, high = min(places), max(places)
    ticks: list[float] = []
    for place in sorted(places, reverse=True):
        if not ticks or ticks[-1] - place >= (high - low) / _MOST_TICKS:
            ticks.append(place)
    margin = 0.03 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    axes.set_xticks(ticks, [places[tick] for tick in ticks])
    axes.set_xlabel("sparsity")
