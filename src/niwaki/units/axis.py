"""One dimension of one tensor of a model, and the part that it plays in a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Role = Literal["makes", "takes", "follows"]


class Axis(NamedTuple):
    """Dimension ``dim`` of the parameter or buffer called ``name`` (as in ``model.named_parameters()``)."""

    name: str
    dim: int

    def __str__(self) -> str:
        return f"{self.name}[{self.dim}]"


@dataclass(frozen=True)
class Member:
    """An axis with its role in a group.

    ``makes``: its slices compute the unit (rows of the producing weight). ``takes``: its slices read the unit
    (columns of the consumer). ``follows``: it must keep step (norms, biases, buffers, depthwise filters).
    """

    name: str
    dim: int
    role: Role

    @property
    def axis(self) -> Axis:
        return Axis(self.name, self.dim)

    def __str__(self) -> str:
        return f"{self.role} {self.axis}"
