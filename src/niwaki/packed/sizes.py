"""How many numbers a packed layer holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from niwaki.errors import BadInput


@dataclass(frozen=True)
class Sizes:
    """A matrix of (``outputs``, ``inputs``) as a dense core and a sparse rest.

    ``rows``, ``columns``: of the core; None for all of them. With 0 there is no core. ``values``: how many entries
    outside the core are kept one by one. ``transposed``: the dense layer keeps its weight as (inputs, outputs).
    """

    outputs: int
    inputs: int
    rows: int | None = None
    columns: int | None = None
    values: int = 0
    transposed: bool = False

    def __post_init__(self) -> None:
        _check(self)

    @property
    def core(self) -> tuple[int, int]:
        """Shape of the core; (0, 0) if there is none."""
        rows = self.outputs if self.rows is None else self.rows
        columns = self.inputs if self.columns is None else self.columns
        return (rows, columns) if rows and columns else (0, 0)

    @property
    def stored(self) -> int:
        """How many weights are held."""
        return self.core[0] * self.core[1] + self.values

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> Sizes:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` where that is no such layer."""
        known = {f.name for f in fields(Sizes)}
        if not isinstance(data, dict) or set(data) != known:
            raise ValueError(f"sizes of a layer are an object with {', '.join(sorted(known))}")
        return Sizes(**data)


def _check(sizes: Sizes) -> None:
    numbers = (sizes.outputs, sizes.inputs, sizes.values)
    if not all(type(n) is int for n in numbers) or type(sizes.transposed) is not bool:
        raise BadInput(f"sizes of a packed layer are whole numbers, found {sizes}")
    for count, most in ((sizes.rows, sizes.outputs), (sizes.columns, sizes.inputs)):
        if count is not None and (type(count) is not int or not 0 <= count < most):
            raise BadInput(f"a core takes 0 to {most - 1} of {most} rows or columns, or None for all; found {count!r}")
    if sizes.outputs < 1 or sizes.inputs < 1 or not 0 <= sizes.values <= sizes.outputs * sizes.inputs:
        raise BadInput(f"no matrix of {sizes.outputs} × {sizes.inputs} has {sizes.values} entries of its own")
