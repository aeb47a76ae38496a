"""Which units of a group stay, by what they do on data: a pursuit, the heaviest, greedy forward selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.parts import at_least
from niwaki.methods.view import Activity, Place
from niwaki.recovery import largest, pursue

Mass = Literal["absolute", "signed"]
"""How hidden activations add up to a unit's mass: their absolute values, or with their signs."""
Statistics = Literal["stored", "batch"]
"""On which statistics a batch norm forms the output of the kept units."""
See = Callable[[], Activity]
"""Gives the activity of the group: of new samples each time, or of the same."""
PIECE = 256
"""Candidates that are tried on one pass over the data."""


@dataclass(frozen=True)
class Selector:
    """Base of all selectors. ``moments``: does it ask for inner products?"""

    @property
    def moments(self) -> bool:
        return False

    def choose(self, see: See, place: Place, *, fresh: bool) -> Tensor:
        """Which units stay: ascending numbers, as many of each part as the place says."""
        raise NotImplementedError

    def factor(self, units: int, kept: int) -> float:
        """How many times the kept units count afterwards."""
        return 1.0


@dataclass(frozen=True)
class Pursuit(Selector):
    """i-SpaSP: look wide at what is still missing, merge, keep the heaviest; so many times."""

    iters: int = 20
    mass: Mass = "absolute"
    statistics: Statistics = "stored"

    def __post_init__(self) -> None:
        at_least(self.iters, 1, "iters")
        one_of("mass", self.mass, get_args(Mass))
        one_of("statistics", self.statistics, get_args(Statistics))

    def choose(self, see: See, place: Place, *, fresh: bool) -> Tensor:
        def look(kept: Tensor) -> tuple[Tensor, Tensor]:
            activity = see()
            mass = activity.mass(absolute=self.mass == "absolute")
            return mass, activity.importance(kept, batch_statistics=self.statistics == "batch")

        return pursue(look, len(place), place.keep, iters=self.iters, steady=not fresh, parts=place.parts)


@dataclass(frozen=True)
class Heaviest(Selector):
    """The units of the largest hidden mass."""

    mass: Mass = "absolute"

    def __post_init__(self) -> None:
        one_of("mass", self.mass, get_args(Mass))

    def choose(self, see: See, place: Place, *, fresh: bool) -> Tensor:
        mass = see().mass(absolute=self.mass == "absolute")
        return largest(mass, place.keep, place.parts).nonzero().flatten()


@dataclass(frozen=True)
class Greedy(Selector):
    """Start with no unit; add the one with which the average of those chosen comes nearest to the average of all.

    ``candidates``: so many random ones are tried in each step; all if None. ``reuse``: from inner products that are
    computed once, a matrix-vector product per step; otherwise each candidate is run through the layer.
    """

    candidates: int | None = None
    reuse: bool = True
    rescale: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.candidates is not None:
            at_least(self.candidates, 1, "candidates")

    @property
    def moments(self) -> bool:
        return self.reuse

    def factor(self, units: int, kept: int) -> float:
        return units / kept if self.rescale else 1.0

    def choose(self, see: See, place: Place, *, fresh: bool) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        activity, chosen = see(), torch.zeros(len(place), dtype=torch.bool)
        products = activity.products().cpu().numpy() if self.reuse else None
        left = list(place.keep)
        while sum(left):
            if fresh and chosen.any():
                activity = see()
                products = activity.products().cpu().numpy() if self.reuse else None
            tried = self._tried(chosen, left, place, generator)
            losses = _quick(products, chosen, tried) if products is not None else _slow(activity, chosen, tried)
            best = int(tried[int(np.argmin(losses))])  # of equals, the first
            chosen[best] = True
            left[int(place.parts[best])] -= 1
        return chosen.nonzero().flatten()

    def _tried(self, chosen: Tensor, left: list[int], place: Place, generator: torch.Generator) -> Tensor:
        """The candidates of this step, ascending: units not chosen, of parts that are not full."""
        open_ = (~chosen & (torch.tensor(left)[place.parts] > 0)).nonzero().flatten()
        if self.candidates is None or len(open_) <= self.candidates:
            return open_
        drawn = torch.randperm(len(open_), generator=generator)[: self.candidates]
        return open_[drawn.sort().values]


def _quick(products: np.ndarray, chosen: Tensor, tried: Tensor) -> np.ndarray:
    """``||U - c (Z + z_i)||² - ||U||²`` for each candidate, with c = units / (chosen + 1), from inner products."""
    inside, units = chosen.numpy().astype(float), len(chosen)
    with_chosen, with_all = products @ inside, products.sum(1)
    scale = units / (inside.sum() + 1)
    square = inside @ with_chosen + 2 * with_chosen + products.diagonal()
    across = inside @ with_all + with_all
    losses: np.ndarray = (scale**2 * square - 2 * scale * across)[tried.numpy()]
    return losses


def _slow(activity: Activity, chosen: Tensor, tried: Tensor) -> list[float]:
    """``||U - c (Z + z_i)||²`` for each candidate, by running it."""
    scale = len(chosen) / (int(chosen.sum()) + 1)

    def weights(piece: Tensor) -> Iterator[Tensor]:
        for unit in piece.tolist():
            weight = chosen.double()
            weight[unit] = 1
            yield scale * weight

    return [loss for piece in tried.split(PIECE) for loss in activity.errors(weights(piece))]


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise :class:`BadInput` unless ``value`` is one of the words ``known``."""
    if value not in known:
        raise BadInput(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")


__all__ = ["Greedy", "Heaviest", "Mass", "Pursuit", "See", "Selector", "Statistics", "one_of"]
