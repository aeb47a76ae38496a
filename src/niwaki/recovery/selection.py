"""Which units of a two-layer model stay: i-SpaSP, the heaviest, or any. All give ascending numbers, int64 (keep,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery.pursuit import Look, largest, pursue
from niwaki.recovery.two_layer import TwoLayer


def ispasp(model: TwoLayer, keep: int, *, iters: int = 20) -> Tensor:
    """i-SpaSP (Wolfe and Kyrillidis 2021, Algorithm 1) on the whole of ``H``.

    Raises:
        BadInput: ``keep`` or ``iters`` is out of range.
    """
    return pursue(looks(lambda: model), model.units, keep, iters=iters, steady=True)


def looks(draw: Callable[[], TwoLayer]) -> Look:
    """What the pursuit sees of the models that ``draw`` gives, one each time it looks.

    ``mu(W1' V)`` is linear in V, so that it is ``W1' (W1 (mu(H) - mu(H_S)))``: two products with a vector, and no V.
    """

    def look(kept: Tensor) -> tuple[Tensor, Tensor]:
        model = draw()
        mass = model.mass
        left = mass.masked_fill(kept.to(mass.device), 0.0)
        return mass, model.second.T @ (model.second @ left)

    return look


def top_k(model: TwoLayer, keep: int) -> Tensor:
    """The units with the largest sum of ``|H|``; of equals the later, as in :func:`niwaki.recovery.pursue`.

    Raises:
        BadInput: ``keep`` is out of range.
    """
    _check(model.units, keep)
    mass = model.hidden.detach().double().abs().sum(1).cpu()  # half precision would overflow
    return largest(mass, [keep], torch.zeros(model.units, dtype=torch.int64)).nonzero().flatten()


def random(units: int, keep: int, seed: int = 0) -> Tensor:
    """Any units, by the seed.

    Raises:
        BadInput: ``keep`` is out of range.
    """
    _check(units, keep)
    return torch.randperm(units, generator=torch.Generator().manual_seed(seed))[:keep].sort().values


def _check(units: int, keep: int) -> None:
    if not 1 <= keep <= units:
        raise BadInput(f"between 1 and {units} of {units} units can stay, not {keep}")


__all__ = ["ispasp", "looks", "random", "top_k"]
