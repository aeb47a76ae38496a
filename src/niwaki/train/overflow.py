"""Gradients in which half precision overflowed: the scaler leaves the step out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from niwaki.ranks import whole


def finite(gradients: Iterable[Tensor | None]) -> bool:
    """Are there gradients, and are all numbers in them finite? Where shards hold them, so say all of their ranks."""
    found = [gradient.isfinite().all() for gradient in gradients if gradient is not None]
    return bool(found) and bool(torch.stack([whole(each).cpu() for each in found]).all())


def stepped(optimizer: torch.optim.Optimizer) -> bool:
    """Did the optimizer step, by the gradients that it was to step by? Without a scaler it also steps where they are
    not finite, and nothing is left to save then."""
    return finite(p.grad for group in optimizer.param_groups for p in group["params"])


__all__ = ["finite", "stepped"]
