"""From a tensor to its pattern: one pass over the weights, then whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from niwaki.errors import BadInput

from .inequality import gini, spread
from .pattern import Pattern, edges

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Mask = NDArray[np.bool_]

__all__ = ["look"]


def look(weight: Tensor | NDArray[Any]) -> Pattern:
    """Where the survivors of a matrix are; it changes nothing and costs a few milliseconds for 768 by 3072.

    Args:
        weight: of two dimensions or more, on any device: a weight, whose survivors are what is not zero, or a bool
            mask, true where a weight survives. The first dimension are rows, the second columns; all further ones
            (the kernel of a convolution) are positions, counted together. So rows are output channels of linear
            layers and convolutions, and inputs of transposed convolutions and of the ``Conv1D`` of transformers. Of
            experts in one tensor look at each, ``look(weight[k])``: dimension 0 numbers them.

    Raises:
        BadInput: it has fewer than two dimensions or no entries, or its values are not there (the meta device).
    """
    import numpy as np

    alive = _alive(weight)
    cells = alive.view(np.uint8)[..., 0] if alive.shape[2] == 1 else alive.sum(2, dtype=np.int32)
    rows, columns = cells.sum(1, dtype=np.int64).tolist(), cells.sum(0, dtype=np.int64).tolist()
    across = np.add.reduceat(cells, edges(len(columns))[:-1], axis=1, dtype=np.int32)
    blocks = np.add.reduceat(across, edges(len(rows))[:-1], axis=0, dtype=np.int64)
    return Pattern(
        len(rows), len(columns), alive.shape[2], sum(rows), gini(rows), gini(columns), spread(rows), spread(columns),
        rows.count(0), columns.count(0), tuple(map(tuple, blocks.tolist())),
    )  # fmt: skip


def _alive(weight: Any) -> Mask:
    """Which entries survive, as (rows, columns, positions)."""
    import numpy as np
    import torch

    if isinstance(weight, torch.Tensor):
        if weight.is_meta:
            raise BadInput("a weight on the meta device has no values, so that nobody knows which of them survive")
        weight = (weight.detach().to_dense() != 0).cpu().numpy()  # the device compares; one byte per weight travels
    if not isinstance(weight, np.ndarray):
        raise BadInput(f"a pattern is that of a tensor or an array, not of {type(weight).__name__}")
    if weight.ndim < 2 or not weight.size:
        raise BadInput(f"a pattern needs rows and columns, at least one of each; the shape is {tuple(weight.shape)}")
    mask: Mask = weight if weight.dtype == np.bool_ else weight != 0
    return np.ascontiguousarray(mask).reshape(*weight.shape[:2], -1)
