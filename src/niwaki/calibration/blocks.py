"""A group with the layers that take its units."""

from __future__ import annotations

from dataclasses import dataclass

from niwaki.calibration.second import Second
from niwaki.calibration.takers import Taker
from niwaki.units import Group


@dataclass(frozen=True, eq=False)
class Block:
    """A group with the calls of the layers that take its units. ``first``: the place of the first of those calls in
    the recorded list. ``seconds``: a second part per call, in the order of the calls."""

    group: Group
    takers: tuple[Taker, ...]
    first: int
    seconds: tuple[Second, ...]


__all__ = ["Block"]
