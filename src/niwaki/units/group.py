"""A group: the interchangeable units of one place, and which tensor entries each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from niwaki.errors import IllegalPlan
from niwaki.units.axis import Axis, Member


@dataclass(frozen=True, eq=False)
class Entries:
    """Which positions of one axis belong to which unit: two parallel int64 arrays, sorted by position."""

    units: np.ndarray
    positions: np.ndarray

    def of(self, chosen: np.ndarray) -> np.ndarray:
        """Ascending positions that the units ``chosen`` (indices) hold."""
        return np.unique(self.positions[np.isin(self.units, chosen)])


@dataclass(frozen=True, eq=False)
class Group:
    """The units that compete with each other, with every tensor axis that they live on.

    ``len(group)`` is the number of units. ``parts`` gives, for each balance that the group is under, one part
    number per unit (-1: none): a legal choice removes equally many units from every part.
    ``changes_statistics`` says that a layer, RMS or group norm averages over these units, so that removing some
    changes what the others are divided by.
    """

    name: str
    kind: str
    size: int
    members: tuple[Member, ...]
    entries: Mapping[Axis, Entries] = field(repr=False)
    parts: tuple[np.ndarray, ...] = field(default=(), repr=False)
    changes_statistics: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))

    def __len__(self) -> int:
        return self.size

    def __str__(self) -> str:
        balanced = f", balanced over {self.part_count} parts" if self.parts else ""
        return f"{self.name}: {self.size} × {self.kind}{balanced}"

    @property
    def makers(self) -> tuple[Member, ...]:
        """The members whose slices compute the units; all members if none does (a bare parameter)."""
        return tuple(m for m in self.members if m.role == "makes") or self.members

    @property
    def part_count(self) -> int:
        """How many parts a legal choice must serve equally; 1 where there is no balance."""
        return max((int(p.max()) + 1 for p in self.parts), default=1)

    def removes(self, chosen: np.ndarray) -> dict[Axis, np.ndarray]:
        """The ascending positions of every member axis that go with the units ``chosen``."""
        return {axis: entries.of(chosen) for axis, entries in self.entries.items()}

    def check(self, chosen: np.ndarray) -> None:
        """Raise :class:`IllegalPlan` unless removing the units ``chosen`` (unique, in range) leaves a legal group."""
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.size):
            raise IllegalPlan(f"group {self.name!r} has units 0 to {self.size - 1}, asked to remove {chosen.tolist()}")
        if chosen.size >= self.size:
            raise IllegalPlan(f"group {self.name!r}: removing all {self.size} units would leave the layer empty")
        for part in self.parts:
            taken = np.bincount(part[chosen][part[chosen] >= 0], minlength=int(part.max()) + 1)
            if taken.min() != taken.max():
                raise IllegalPlan(
                    f"group {self.name!r} is balanced over {taken.size} parts and must lose equally many units of each,"
                    f" but the choice takes {taken.tolist()}; nk.plan() makes a legal choice"
                )
