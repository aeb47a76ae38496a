"""From the times of layers to that of a network: four coefficients, fitted to a few networks that were timed whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from niwaki.errors import BadInput

_HELD = 0.1
"""How firmly layers, and odd widths, are held to take as long in a network as they do alone: if they take so much
longer, that weighs like this share of a network's time."""


@dataclass(frozen=True)
class Load:
    """What a network has to do: ``layers``: milliseconds of its products, each timed alone, as if every width were
    liked alike; ``odd``: milliseconds that widths which kernels do not like add. ``volume``: entries that its other
    operations write."""

    layers: float
    odd: float
    volume: float

    @property
    def parts(self) -> tuple[float, float, float, float]:
        """As the coefficients go with them."""
        return self.layers, self.odd, self.volume / 1e6, 1.0


@dataclass(frozen=True)
class Coefficients:
    """Milliseconds = ``layers`` × those of the layers + ``odd`` × those that odd widths add + ``volume`` × millions of
    entries + ``fixed``."""

    layers: float
    odd: float
    volume: float
    fixed: float

    def ms(self, load: Load) -> float:
        return sum(c * x for c, x in zip((self.layers, self.odd, self.volume, self.fixed), load.parts, strict=True))


def fit(loads: Sequence[Load], times: Sequence[float]) -> Coefficients:
    """The coefficients, none negative, that explain best what whole networks took (in milliseconds), errors relative.

    Raises:
        BadInput: nothing was timed.
    """
    if not times or len(times) != len(loads) or min(times) <= 0:
        raise BadInput("to fit a forecast, at least one network must have been timed")
    rows = [[part / t for part in load.parts] for load, t in zip(loads, times, strict=True)]
    held = [[_HELD, 0.0, 0.0, 0.0], [0.0, _HELD * max(row[1] for row in rows), 0.0, 0.0]]
    found, _ = nnls(np.array([*rows, *held]), np.array([*[1.0] * len(times), _HELD, held[1][1]]))
    return Coefficients(*(float(x) for x in found))


__all__ = ["Coefficients", "Load", "fit"]
