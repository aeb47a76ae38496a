"""One comparison of two models' answers, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from niwaki.graph.copies import apart
from niwaki.graph.observe import tensors_of


@dataclass(frozen=True)
class Check:
    """One comparison. ``worst``: largest absolute difference over the largest absolute value of the reference."""

    name: str
    against: str
    kind: str
    worst: float | None
    tolerance: float
    detail: str = ""

    @property
    def holds(self) -> bool:
        return self.worst is not None and self.worst <= self.tolerance


def answers(model: Callable[..., Any], args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that a call returns, as :func:`outputs_of` takes them. What is given stays as it is, also if the
    model writes to its input (``nn.ReLU(inplace=True)`` comes first)."""
    args, kwargs = apart((args, kwargs))
    return outputs_of(model(*args, **kwargs))


def outputs_of(value: Any) -> list[Tensor]:
    """The tensors of numbers in what a call returned, caches left out; where there are none, those of whole numbers."""
    found = list(tensors_of(value, caches=False))
    return [t for t in found if t.is_floating_point() or t.is_complex()] or found


def compare(
    name: str,
    against: str,
    kind: str,
    reference: Sequence[Tensor],
    found: Sequence[Tensor],
    tolerance: float,
    detail: str = "",
) -> Check:
    """Tensor by tensor; each difference is taken relative to the largest value of its reference tensor (for gradients:
    of all of them, since a gradient that should vanish has no scale of its own). Whole numbers must be equal, and
    infinities in the same places. Where there is nothing to compare, that is a check that fails."""
    trouble = _misfit(reference, found)
    pairs = [] if trouble else [_wide(a, b) for a, b in zip(reference, found, strict=True) if a.numel()]
    if not trouble and not pairs:
        trouble = "not comparable: there is no tensor with values"
    if not all(_infinite_alike(a, b) for a, b in pairs):
        trouble = "values that are not finite"
    if trouble:
        return Check(name, against, kind, None, tolerance, trouble)
    pairs = [(a.nan_to_num(posinf=0.0, neginf=0.0), b.nan_to_num(posinf=0.0, neginf=0.0)) for a, b in pairs]
    common = max(float(a.abs().max()) for a, _ in pairs)
    worst = 0.0
    for (a, b), given in zip(pairs, (t for t in reference if t.numel()), strict=True):
        scale = common if kind == "gradient" else float(a.abs().max())
        difference = float((a - b).abs().max())
        if not given.is_floating_point() and not given.is_complex():
            scale = difference
        worst = max(worst, difference / scale if scale else difference)
    return Check(name, against, kind, worst, tolerance, detail)


def _misfit(reference: Sequence[Tensor], found: Sequence[Tensor]) -> str:
    """In what number or shape they are others; empty if in none."""
    if len(reference) != len(found):
        return f"outputs of other shapes: {len(reference)} tensors and {len(found)}"
    shapes = [(tuple(a.shape), tuple(b.shape)) for a, b in zip(reference, found, strict=True)]
    return next((f"outputs of other shapes: {a} and {b}" for a, b in shapes if a != b), "")


def _wide(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, on the CPU; complex numbers as two."""
    a, b = (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for t in (a.detach().cpu(), b.detach().cpu()))
    return a.double(), b.double()


def _infinite_alike(a: Tensor, b: Tensor) -> bool:
    """Whether both are infinite in the same places, and are numbers in all others."""
    places = a.isinf() | b.isinf()
    return not bool(a.isnan().any() or b.isnan().any()) and bool((a[places] == b[places]).all())


__all__ = ["Check", "answers", "compare", "outputs_of"]
