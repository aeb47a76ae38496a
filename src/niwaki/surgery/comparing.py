"""One comparison of two models' answers, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from niwaki.graph.copies import fresh
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
    """The floating-point tensors that a call returns."""
    args, kwargs = fresh((args, kwargs))
    return outputs_of(model(*args, **kwargs))


def outputs_of(value: Any) -> list[Tensor]:
    """The floating-point tensors in what a call returned, caches left out."""
    return [t for t in tensors_of(value, caches=False) if t.is_floating_point()]


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
    of all of them, since a gradient that should vanish has no scale of its own)."""
    if len(reference) != len(found) or any(a.shape != b.shape for a, b in zip(reference, found, strict=True)):
        return Check(name, against, kind, None, tolerance, "outputs of other shapes")
    pairs = [(a.double().cpu(), b.double().cpu()) for a, b in zip(reference, found, strict=True)]
    pairs = [(a, b) for a, b in pairs if a.numel()]
    if not all(torch.isfinite(a).all() and torch.isfinite(b).all() for a, b in pairs):
        return Check(name, against, kind, None, tolerance, "values that are not finite")
    common = max((float(a.abs().max()) for a, _ in pairs), default=0.0)
    worst = 0.0
    for a, b in pairs:
        scale = common if kind == "gradient" else float(a.abs().max())
        difference = float((a - b).abs().max())
        worst = max(worst, difference / scale if scale else difference)
    return Check(name, against, kind, worst, tolerance, detail)


__all__ = ["Check", "answers", "compare", "outputs_of"]
