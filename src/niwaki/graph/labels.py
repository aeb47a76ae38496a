"""What one dimension of one tensor carries, position by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Site:
    """Where an operation was called: its name, the module it ran in, and the user's source line; empty where it is
    nobody's, as in a ``nn.Sequential`` under ``niwaki prune``."""

    op: str
    module: str
    line: str

    def __str__(self) -> str:
        line = f" at {self.line}" if self.line else ""
        inside = f" in module {self.module!r}" if self.module else ""
        return f"{self.op}{line}{inside}"


@dataclass(frozen=True)
class Reason:
    """Why positions may not go: a sentence, where it happened, and what the user can do about it."""

    text: str
    site: Site | None = None
    advice: str = ""

    def __str__(self) -> str:
        where = f" ({self.site})" if self.site else ""
        advice = f" {self.advice}" if self.advice else ""
        return f"{self.text}{where}.{advice}"


@dataclass(frozen=True)
class Free:
    """Every position is alike and the length follows by itself (a tensor of zeros or ones, a broadcast dimension).

    ``zero``: the values are all zero. ``lengths``: the names of its length: dimensions that share one were made as one,
    and cannot differ.
    """

    zero: bool = False
    lengths: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Fixed:
    """No position may go: the length belongs to the data (batch, space, time, classes) or is written in the code."""

    reason: Reason


@dataclass(frozen=True, eq=False)
class Atoms:
    """Position ``i`` stands for the atom ``ids[i]`` and goes when that atom goes.

    ``clean``: when an atom is masked (its parameters zeroed) the values at its positions are exactly zero. Sums over
    the dimension are then the same in the masked and in the cut model; otherwise they are not.
    """

    ids: np.ndarray
    clean: bool = True

    def take(self, index: np.ndarray | slice) -> Atoms:
        return Atoms(self.ids[index], self.clean)

    def soiled(self) -> Atoms:
        return Atoms(self.ids, False) if self.clean else self


def distinct(ids: np.ndarray) -> bool:
    """Is no value there twice? (Most arrays of atoms ascend, and then nothing is sorted.)"""
    return bool((np.diff(ids) > 0).all()) or np.unique(ids).size == ids.size


Label = Free | Fixed | Atoms
"""The label of one dimension."""


def soiled(label: Label) -> Label:
    """The label where something that does not vanish was added to every position."""
    return label.soiled() if isinstance(label, Atoms) else label
