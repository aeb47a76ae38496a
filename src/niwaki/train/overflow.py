"""Gradients in which half precision overflowed: the scaler leaves the step out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from niwaki.ranks import alike, local, shares


def finite(gradients: Iterable[Tensor | None]) -> bool:
    """Are there gradients, and are all numbers in them finite? Where shards hold them, so say all of their ranks."""
    there = [gradient for gradient in gradients if gradient is not None]
    # One answer of all that lie alike: each costs a transfer, and where they are sharded a message to all ranks.
    broken = [shares(there[at[0]], "max")(_broken([there[k] for k in at])) for at in alike(there)]
    return bool(broken) and not any(map(bool, broken))


def _broken(gradients: list[Tensor]) -> Tensor:
    """1 if a number in what this rank holds is not finite, else 0."""
    return (~torch.stack([local(each).isfinite().all() for each in gradients]).all()).long()


def stepped(optimizer: torch.optim.Optimizer) -> bool:
    """Did the optimizer step, by the gradients that it was to step by? Without a scaler it also steps where they are
    not finite, and nothing is left to save then."""
    return finite(p.grad for group in optimizer.param_groups for p in group["params"])


__all__ = ["finite", "stepped"]
