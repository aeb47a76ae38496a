"""The noun of this room: how the surviving weights of one matrix lie, as a frozen value that goes to JSON and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from niwaki.errors import BadInput, unknown_key

__all__ = ["GRID", "Pattern", "edges"]

GRID = 48  # blocks of a heat map along rows and columns, at most
Blocks = tuple[tuple[int, ...], ...]


def edges(length: int, most: int = GRID) -> list[int]:
    """Where ``min(length, most)`` blocks of an axis begin and end; their lengths differ by one at most.

    ``edges(5, 2)`` is ``[0, 2, 5]``: block i holds the indices from ``edges[i]`` up to but not ``edges[i + 1]``.
    """
    blocks = min(length, most)
    return [i * length // blocks for i in range(blocks + 1)]


@dataclass(frozen=True)
class Pattern:
    """Where the surviving (nonzero) weights of one matrix are.

    Args:
        rows, columns: the shape. Of a convolution, output channels and input channels.
        positions: weights at each place of the matrix: 1, or the kernel's size of a convolution.
        survivors: how many weights are not zero, of ``rows * columns * positions``.
        gini_rows, gini_columns: Gini coefficient of the survivors per row and per column, in [0, 1); see
            :func:`niwaki.pattern.gini`.
        spread_rows, spread_columns: standard deviation over mean of the same counts, 0 or more.
        empty_rows, empty_columns: how many have no survivor.
        blocks: survivors in each block of a grid of at most 48 by 48; where blocks begin tells :func:`edges`. Empty if
            left out.

    Raises:
        BadInput: a value has the wrong type, lies outside its range, or does not go with the others.
    """

    rows: int
    columns: int
    positions: int
    survivors: int
    gini_rows: float
    gini_columns: float
    spread_rows: float
    spread_columns: float
    empty_rows: int
    empty_columns: int
    blocks: Blocks = ()

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "positions"):
            _whole(name, getattr(self, name), 1, None)
        _whole("survivors", self.survivors, 0, self.weights)
        for axis, length in (("rows", self.rows), ("columns", self.columns)):
            _number(f"gini_{axis}", getattr(self, f"gini_{axis}"), 1 - 1 / length)
            _number(f"spread_{axis}", getattr(self, f"spread_{axis}"), math.sqrt(length - 1))
            empty = getattr(self, f"empty_{axis}")
            _whole(f"empty_{axis}", empty, 0, length)
            # Every other one holds a survivor at least, and no more than there are places.
            if not length - empty <= self.survivors <= (length - empty) * (self.weights // length):
                raise BadInput(f"empty_{axis} is {empty} of {length}, which cannot be with {self.survivors} survivors")
        object.__setattr__(self, "blocks", _rows_of("blocks", self.blocks))
        if self.blocks:
            self._check_blocks()

    @property
    def weights(self) -> int:
        """Weights of the matrix, dead or alive."""
        return self.rows * self.columns * self.positions

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero, in [0, 1]."""
        return 1 - self.survivors / self.weights

    @property
    def capacity(self) -> Blocks:
        """Weights in each block, dead or alive; in the shape of ``blocks``, also where those are left out."""
        high, wide = ([b - a for a, b in pairwise(edges(length))] for length in (self.rows, self.columns))
        return tuple(tuple(h * w * self.positions for w in wide) for h in high)

    @property
    def heat(self) -> Blocks:
        """The share of survivors in each block, in whole per cent: 0 only if it is empty, 100 only if it is full."""
        pairs = (zip(*rows, strict=True) for rows in zip(self.blocks, self.capacity, strict=False))
        return tuple(tuple(_per_cent(alive, of) for alive, of in row) for row in pairs)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, under the names of the fields."""
        return {**dataclasses.asdict(self), "blocks": [list(row) for row in self.blocks]}

    @classmethod
    def from_json(cls, data: Any) -> Pattern:
        """The pattern that ``to_json`` described.

        Raises:
            BadInput: a key is unknown or missing, or a value cannot be meant; the message names it.
        """
        if not isinstance(data, Mapping):
            raise BadInput(f"a pattern must be a dict, not {type(data).__name__} ({data!r:.60})")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                raise unknown_key("a pattern", str(key), known)
        missing = [name for name in known if name not in data]
        if missing:
            raise BadInput(f"a pattern needs {', '.join(map(repr, missing))}; found {', '.join(data) or 'nothing'}")
        return cls(**data)

    def _check_blocks(self) -> None:
        shape, found = (len(self.capacity), len(self.capacity[0])), sorted({len(row) for row in self.blocks})
        if len(self.blocks) != shape[0] or found != [shape[1]]:
            raise BadInput(
                f"blocks must be {shape[0]} rows of {shape[1]} for a matrix of {self.rows} by {self.columns}, "
                f"not {len(self.blocks)} rows of {' or '.join(map(str, found))}"
            )
        for i, pair in enumerate(zip(self.blocks, self.capacity, strict=True)):
            for j, (alive, of) in enumerate(zip(*pair, strict=True)):
                if type(alive) is not int or not 0 <= alive <= of:
                    _whole(f"blocks[{i}][{j}]", alive, 0, of)
        total = sum(map(sum, self.blocks))
        if total != self.survivors:
            raise BadInput(f"blocks hold {total} survivors together, and the matrix {self.survivors}")


def _per_cent(alive: int, of: int) -> int:
    """Rounded, but a few are not none and almost all are not all."""
    return alive * 100 // of if alive in (0, of) else min(max((200 * alive + of) // (2 * of), 1), 99)


def _rows_of(name: str, value: Any) -> Blocks:
    if not isinstance(value, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in value):
        raise BadInput(f"{name} must be a list of rows, not {value!r:.60}")
    return tuple(map(tuple, value))


def _whole(name: str, value: Any, least: int, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise BadInput(f"{name} must be a whole number {bounds}, not {value!r:.60}")


def _number(name: str, value: Any, most: float) -> None:
    # A little beyond the bound is rounding; NaN fails the comparison.
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most + 1e-9
    if not fits:
        raise BadInput(f"{name} must be a number from 0 to {most:.6g}, not {value!r:.60}")
