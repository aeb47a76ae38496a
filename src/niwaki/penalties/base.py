"""What every penalty can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Penalty(Protocol):
    """A penalty on weights. Its gradient is added to the final (clipped) gradient, times a factor."""

    def gradient(self, weight: Tensor) -> Tensor:
        """d penalty / d weight, in the shape of ``weight``."""
        ...


@runtime_checkable
class Summing(Penalty, Protocol):
    """A penalty that looks at a weight through one sum for each of its rows (dimension 0) and each of its columns
    (dimension 1). Of weights that are dealt out over ranks, the sums of all can then travel at once.

    Its gradient is ``(slopes of rows + slopes of columns) × base``.
    """

    def terms(self, weight: Tensor) -> Tensor:
        """What is summed up, in the shape of ``weight``."""
        ...

    def slopes(self, sums: Tensor, along: int, shape: torch.Size) -> Tensor:
        """A factor for every row (``along`` 0) or column (1), in the shape of ``sums``, which broadcasts against the
        weight. ``shape``: of the whole weight."""
        ...

    def base(self, weight: Tensor) -> Tensor:
        """What the factors multiply, in the shape of ``weight``."""
        ...


@runtime_checkable
class Proximal(Penalty, Protocol):
    """A penalty that can also be taken by its proximal step, which makes zeros where a gradient makes small numbers."""

    def shrink_(self, weight: Tensor, amount: float) -> None:
        """In place: the weight that minimises ``½ |new - weight|² + amount × penalty(new)``."""
        ...
