"""A group: the interchangeable units of one place, and which tensor entries each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

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
class Parts:
    """A balance over units: the part that each unit draws from (-1: none), and how many positions it takes there.

    All units of one part weigh the same. A legal choice takes the same weight from every part.
    """

    of: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return int(self.of.max()) + 1

    def taken(self, chosen: np.ndarray) -> np.ndarray:
        """The weight that the units ``chosen`` take from each part."""
        inside = chosen[self.of[chosen] >= 0]
        return np.bincount(self.of[inside], weights=self.weight[inside], minlength=len(self)).astype(int)


@dataclass(frozen=True, eq=False)
class Group:
    """The units that compete with each other, with every tensor axis that they live on.

    ``len(group)`` is the number of units. ``parts`` gives the balances that the group is under: a legal
    choice removes equally much from every part of each.
    ``changes_statistics`` says that a layer, RMS or group norm, a mean or a softmax runs over these units, so that
    removing some changes what the others are divided by. ``least``: so many units must stay;
    ``multiple``: in such a number (some kernels take no other lengths).
    """

    name: str
    kind: str
    size: int
    members: tuple[Member, ...]
    entries: Mapping[Axis, Entries] = field(repr=False)
    parts: tuple[Parts, ...] = field(default=(), repr=False)
    changes_statistics: bool = False
    least: int = 1
    multiple: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))

    def __reduce__(self) -> tuple[Any, ...]:
        """For ``pickle`` and ``copy``, which take no view of a dict."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"entries": dict(self.entries)}
        return type(self), tuple(values.values())

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
        return max((len(p) for p in self.parts), default=1)

    def removes(self, chosen: np.ndarray) -> dict[Axis, np.ndarray]:
        """The ascending positions of every member axis that go with the units ``chosen``."""
        return {axis: entries.of(chosen) for axis, entries in self.entries.items()}

    def check(self, chosen: np.ndarray) -> None:
        """Raise :class:`IllegalPlan` unless removing the units ``chosen`` (unique, in range) leaves a legal group."""
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.size):
            raise IllegalPlan(f"group {self.name!r} has units 0 to {self.size - 1}, asked to remove {chosen.tolist()}")
        if chosen.size >= self.size:
            raise IllegalPlan(f"group {self.name!r}: removing all {self.size} units would leave the layer empty")
        if self.size - chosen.size < self.least:
            raise IllegalPlan(
                f"group {self.name!r}: {self.least} of the {self.size} units must stay, asked to remove {chosen.size}"
            )
        if (self.size - chosen.size) % self.multiple:
            raise IllegalPlan(
                f"group {self.name!r} must keep a multiple of {self.multiple} of its {self.size} units, asked to "
                f"remove {chosen.size}; nk.plan() makes a legal choice"
            )
        for part in self.parts:
            taken = part.taken(chosen)
            if taken.min() != taken.max():
                raise IllegalPlan(
                    f"group {self.name!r} is balanced over {taken.size} parts and must lose equally many positions of "
                    f"each, but the choice takes {taken.tolist()}; nk.plan() makes a legal choice"
                )
