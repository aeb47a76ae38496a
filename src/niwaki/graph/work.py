"""What a product computes, apart from the widths that a cut changes: enough to compute its like alone, and time it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Linear:
    """A linear layer on ``rows`` vectors."""

    rows: int
    bias: bool

    @property
    def each(self) -> int:
        """Multiply-adds for every entry of the weight."""
        return self.rows


@dataclass(frozen=True)
class Convolution:
    """A convolution of ``batch`` inputs of ``size`` (without channels) to ``result``. ``padding``: as PyTorch takes it,
    numbers or a word. ``extra``: what a transposed one adds to its result; None for a plain one."""

    batch: int
    size: Sizes
    result: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes | str
    dilation: Sizes
    bias: bool
    extra: Sizes | None = None

    @property
    def each(self) -> int:
        """Multiply-adds for every entry of the weight, taps of the kernel together."""
        space = self.result if self.extra is None else self.size
        return self.batch * int(np.prod(space)) * int(np.prod(self.kernel))


@dataclass(frozen=True)
class Task:
    """One product at given widths. ``made`` × ``taken``: outputs and inputs of the weight (inputs of one group, where a
    convolution has several). ``source``: channels that enter; ``source / taken`` groups."""

    form: Linear | Convolution
    made: int
    taken: int
    source: int

    @property
    def macs(self) -> int:
        return self.form.each * self.made * self.taken

    @property
    def groups(self) -> int:
        return max(1, self.source // self.taken)


Length = np.ndarray | int
"""The atoms of an axis, or a length that never changes."""


@dataclass(frozen=True, eq=False)
class Work:
    """A product of a traced model: its form, and the axes that say how wide it is. ``rows``: axes that a cut can make
    shorter and that multiply the rows of a linear layer's form."""

    form: Linear | Convolution
    made: Length
    taken: Length
    source: Length
    rows: tuple[np.ndarray, ...] = ()

    @property
    def lengths(self) -> tuple[Length, ...]:
        """All of them, as :meth:`at` takes what is left of them."""
        return self.made, self.taken, self.source, *self.rows

    def at(self, left: Sequence[int]) -> Task:
        """The product when so much is left of the lengths."""
        made, taken, source, *rows = left
        if not rows or not isinstance(self.form, Linear):
            return Task(self.form, made, taken, source)
        return Task(replace(self.form, rows=self.form.rows * math.prod(rows)), made, taken, source)

    def task(self, kept: np.ndarray) -> Task:
        """The product that is left when ``kept`` (bool per atom) says which atoms stay."""
        return self.at([_left(length, kept) for length in self.lengths])


def _left(length: Length, kept: np.ndarray) -> int:
    return int(kept[length].sum()) if isinstance(length, np.ndarray) else length


__all__ = ["Convolution", "Length", "Linear", "Task", "Work"]
