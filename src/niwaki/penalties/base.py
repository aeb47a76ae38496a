"""What every penalty can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Penalty(Protocol):
    """A penalty on weights. Its gradient is added to the final (clipped) gradient, times a factor."""

    def gradient(self, weight: Tensor) -> Tensor:
        """d penalty / d weight, in the shape of ``weight``."""
        ...


@runtime_checkable
class Proximal(Penalty, Protocol):
    """A penalty that can also be taken by its proximal step, which makes zeros where a gradient makes small numbers."""

    def shrink_(self, weight: Tensor, amount: float) -> None:
        """In place: the weight that minimises ``½ |new - weight|² + amount × penalty(new)``."""
        ...
