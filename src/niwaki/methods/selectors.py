"""Which units of a group stay, by what they do on data: a pursuit, the heaviest, greedy forward selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.parts import at_least
from niwaki.methods.view import Activity, Place, check_switch
from niwaki.recovery import Inner, greedy, largest, pursue, share
from niwaki.scores.random import check_seed

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
    """Base of all selectors. ``outputs``: does it ask what the layers that take the units give? ``moments``: for inner
    products? ``rescales``: do the kept units count more afterwards?"""

    @property
    def outputs(self) -> bool:
        return True

    @property
    def moments(self) -> bool:
        return False

    @property
    def rescales(self) -> bool:
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

    @property
    def outputs(self) -> bool:
        return False

    def choose(self, see: See, place: Place, *, fresh: bool) -> Tensor:
        mass = see().mass(absolute=self.mass == "absolute")
        return largest(mass, place.keep, place.parts).nonzero().flatten()


@dataclass(frozen=True)
class Greedy(Selector):
    """Start with no unit; add the one with which the average of those chosen comes nearest to the average of all.

    ``candidates``: so many random ones are tried in each step; all if None. ``reuse``: from inner products that are
    computed once, a matrix-vector product per step; otherwise, and where the layer is no matrix, each candidate is run
    through the layer.
    """

    candidates: int | None = None
    reuse: bool = True
    rescale: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.candidates is not None:
            at_least(self.candidates, 1, "candidates")
        check_switch(self.reuse, "reuse")
        check_switch(self.rescale, "rescale")
        check_seed(self.seed)

    @property
    def moments(self) -> bool:
        return self.reuse

    @property
    def rescales(self) -> bool:
        return self.rescale

    def factor(self, units: int, kept: int) -> float:
        return units / kept if self.rescale else 1.0

    def choose(self, see: See, place: Place, *, fresh: bool) -> Tensor:
        products: list[Tensor] = []

        def losses(counts: Tensor, tried: Tensor) -> Tensor:
            activity = see()
            if not (self.reuse and place.matrix):
                return _by_running(activity, counts, tried)
            if fresh or not products:
                products[:] = [activity.products().cpu()]
            return Inner(products[0], averaged=True)(counts, tried)

        picked = greedy(losses, len(place), place.keep, tries=self.candidates, seed=self.seed, parts=place.parts)
        return picked.sort().values


def _by_running(activity: Activity, counts: Tensor, tried: Tensor) -> Tensor:
    """``||U - c (Z + z_i)||²`` for each candidate, with c = units / (chosen + 1), by running it."""
    scale = share(len(counts), int(counts.sum()) + 1, averaged=True)

    def weights(piece: Tensor) -> Iterator[Tensor]:
        for unit in piece.tolist():
            weight = counts.double()
            weight[unit] = 1
            yield scale * weight

    found = [loss for piece in tried.split(PIECE) for loss in activity.errors(weights(piece))]
    return torch.tensor(found, dtype=torch.float64)  # losses differ little


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise :class:`BadInput` unless ``value`` is one of the words ``known``."""
    if value not in known:
        raise BadInput(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")


__all__ = ["Greedy", "Heaviest", "Mass", "Pursuit", "See", "Selector", "Statistics", "one_of"]
