"""The selection of i-SpaSP (Wolfe and Kyrillidis 2021, Algorithm 1): look wide, merge, keep the heaviest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from niwaki.errors import BadInput

Look = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of what is kept now (bool, one per unit): the mass of every unit, and its importance for what is still missing.

Mass is ``mu(H)``, importance ``mu(W1' (U - U_S))``: the gradient of half the squared residual with respect to the
hidden activations, both summed over samples and positions (paper, Algorithms 1 and 2). Shape: (units,) each.
"""


def pursue(
    look: Look,
    units: int,
    keep: int | Sequence[int],
    *,
    iters: int = 20,
    steady: bool = False,
    parts: Tensor | None = None,
) -> Tensor:
    """Which units stay: ascending numbers, int64, of shape (keep,).

    In each iteration the ``2 * keep`` units of the largest importance (with its sign) join those that are kept, and of
    all these the ``keep`` of the largest mass stay. Of equals, the later stay. There is no least-squares step.

    Args:
        look: asked once per iteration, first with nothing kept. It may draw new samples each time.
        units: how many there are. keep: how many stay, 1 to ``units``. iters: iterations, at least 1.
        steady: ``look`` gives the same for the same, so that a choice that repeats is final and ends the search.
        parts: the part of each unit, int64 of shape (units,), where so many must stay of each part: ``keep`` then has a
            number per part, each may be 0 up to the size of the part. The rule holds within every part.

    Raises:
        BadInput: numbers out of range, or a look of the wrong shape or that is not finite.
    """
    parts = torch.zeros(units, dtype=torch.int64) if parts is None else parts
    counts = [keep] if isinstance(keep, int) else list(keep)
    sizes = torch.bincount(parts, minlength=len(counts)).tolist()
    if len(sizes) != len(counts) or not 1 <= sum(counts) <= units:
        raise BadInput(f"between 1 and {units} of {units} units can stay, not {keep}")
    if not all(0 <= count <= size for count, size in zip(counts, sizes, strict=True)):
        raise BadInput(f"of parts of {sizes} units, {counts} cannot stay")
    if iters < 1:
        raise BadInput(f"at least one iteration is needed to choose, not {iters}")
    wide = [min(2 * count, size) for count, size in zip(counts, sizes, strict=True)]
    kept = torch.zeros(units, dtype=torch.bool)
    for _ in range(iters):
        mass, importance = (_checked(values, units) for values in look(kept))
        merged = kept | largest(importance, wide, parts)
        chosen = largest(mass.masked_fill(~merged, -torch.inf), counts, parts)
        if steady and torch.equal(chosen, kept):
            break
        kept = chosen
    return kept.nonzero().flatten()


def largest(values: Tensor, counts: Sequence[int], parts: Tensor) -> Tensor:
    """A bool mask of the so many largest of each part; of equals, the later."""
    order = torch.argsort(values, stable=True)
    mask = torch.zeros(len(values), dtype=torch.bool)
    for part, count in enumerate(counts):
        inside = order[parts[order] == part]
        mask[inside[len(inside) - count :]] = True
    return mask


def _checked(values: Tensor, units: int) -> Tensor:
    values = values.detach().cpu()
    if values.shape != (units,):
        raise BadInput(f"a look gives one number for each of {units} units, not {tuple(values.shape)}")
    if not torch.isfinite(values).all():
        raise BadInput(
            "mass or importance is not finite: the activations hold inf or nan. Calibrate in float32, or on data that "
            "the model was made for."
        )
    return values


__all__ = ["Look", "largest", "pursue"]
