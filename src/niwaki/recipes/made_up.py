"""Inputs that a recipe has made up: tensors of given shapes, by the names of the model's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from niwaki.errors import BadInput
from niwaki.recipes import checks

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Draw:
    """One tensor of a shape: normal random numbers; or random whole numbers from 0 on that are ``below`` a bound (token
    numbers); or one whole number, ``fill``, throughout (an attention mask)."""

    shape: tuple[int, ...]
    below: int | None = None
    fill: int | None = None

    def tensor(self, generator: Generator) -> Tensor:
        """The tensor, on the CPU: float32, or int64 where whole numbers are asked for."""
        import torch

        if self.below is not None:
            return torch.randint(self.below, self.shape, generator=generator)
        if self.fill is not None:
            return torch.full(self.shape, self.fill)
        return torch.randn(self.shape, generator=generator)

    def to_json(self) -> Any:
        numbers = {key: value for key in ("below", "fill") if (value := getattr(self, key)) is not None}
        return {"shape": list(self.shape), **numbers} if numbers else list(self.shape)


def read_named(data: Mapping[Any, Any]) -> dict[str, Draw]:
    """The mapping ``inputs`` of a recipe: argument names to shapes, or to ``{shape: …, below: …}``.

    Raises:
        BadInput: it is empty, or a value is neither.
    """
    found = checks.table("inputs", data)
    if not found:
        raise BadInput("inputs is empty; name the model's arguments and their shapes, such as {x: [1, 3, 32, 32]}")
    return {name: _draw(f"inputs.{name}", value) for name, value in found.items()}


def is_shape(value: Any) -> bool:
    """A list of whole numbers above 0?"""
    return isinstance(value, (list, tuple)) and all(type(n) is int and n > 0 for n in value)


def _draw(where: str, value: Any) -> Draw:
    found = checks.mapping(where, value, ("shape", "below", "fill"), ("shape",)) if isinstance(value, Mapping) else {}
    shape = found.get("shape", value)
    if not is_shape(shape):
        raise BadInput(f"{where} must be a shape such as [2, 16], or {{shape: [2, 16], below: 1000}}; found {value!r}")
    below, fill = found.get("below"), found.get("fill")
    if below is not None and fill is not None:
        raise BadInput(f"{where} has both 'below' and 'fill'; random numbers and one number throughout exclude another")
    return Draw(
        tuple(shape),
        None if below is None else checks.whole(f"{where}.below", below, 1),
        None if fill is None else checks.whole(f"{where}.fill", fill, 0),
    )


__all__ = ["Draw", "is_shape", "read_named"]
