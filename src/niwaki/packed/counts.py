"""What a form costs, counted and not measured: a rule that knows no machine, and gives the same answer on each."""

from __future__ import annotations

from niwaki.packed.sizes import Sizes
from niwaki.packed.split import SPARSE_COST

MOVE_COST = 16.0
"""Gathering or placing a number costs about so many multiply-adds of a dense product (one core, float32)."""


def counted(sizes: Sizes) -> float:
    """Multiply-adds of a dense product that take as long as the layer does for one input vector, about."""
    rows, columns = sizes.core
    moved = 0
    if rows and sizes.columns is not None:
        moved += columns
    if rows and sizes.rows is not None:
        moved += sizes.outputs
    if sizes.values:
        moved += sizes.inputs + sizes.outputs
    return rows * columns + SPARSE_COST * sizes.values + MOVE_COST * moved


__all__ = ["counted"]
