"""What the theory of i-SpaSP promises (Wolfe and Kyrillidis 2021, section 5 and appendix B).

All of it holds for a W1 with ``delta_4s <= 0.1`` (see `isometry`). ``H = Z + E``, where Z has the s heaviest rows;
``e`` stands for ``mu(E)``, the masses of the other rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from niwaki.errors import BadInput

SHRINK = 0.444  # of what is missing, in each iteration


def tail(mass: Tensor, keep: int) -> Tensor:
    """``mu(E)``: the masses (units,) but for the ``keep`` of the largest magnitude, (units - keep,)."""
    return mass.double()[torch.argsort(mass.abs(), descending=True, stable=True)[keep:]]


def after_one_iteration(before: float, e: Tensor, keep: int) -> float:
    """Of ``|mu(H - H_S)|_2`` after an iteration, from its value before it (proof of Lemma 1)."""
    return SHRINK * before + 7.333 * float(e.norm(2)) + 3.456 / math.sqrt(keep) * float(e.norm(1))


def mass_missing(mass: Tensor, keep: int, iters: int) -> float:
    """Of ``|mu(H - H_S)|_2`` after so many iterations (Lemma 1)."""
    e = tail(mass, keep)
    return SHRINK**iters * float(mass.double().norm(2)) + _weight(keep) * float(e.norm(1))


def residual(second: Tensor, mass: Tensor, keep: int, iters: int) -> float:
    """Of ``|V|_F``, not squared (Theorem 2): the norm of W1 times what Lemma 1 leaves missing."""
    return float(second.double().norm()) * mass_missing(mass, keep, iters)


def tail_of_compressible(magnitude: float, p: float, keep: int) -> float:
    """Of ``|mu(E)|_1``, for a p-row-compressible H of magnitude R, p below 1 (Lemma 3)."""
    return magnitude * keep ** (1 - 1 / _below_one(p)) / (1 / p - 1)


def rate(p: float) -> float:
    """The exponent of s with which ``|V|_F`` falls at least, for many iterations: ``1 - 1/p`` (Theorem 4)."""
    return 1 - 1 / _below_one(p)


def order(p: float, keep: int) -> float:
    """What ``|V|_F`` is of the order of (Theorem 4): ``s^(1/2 - 1/p) p (2 sqrt(s) + 1) / (1 - p)``."""
    return keep ** (0.5 - 1 / _below_one(p)) * p * (2 * math.sqrt(keep) + 1) / (1 - p)


def chain(weights: Sequence[Tensor], p: float, keep: int, magnitude: float = 1.0) -> float:
    """What ``|V|_F`` of a network of L hidden layers is of the order of, if s units stay in each (Theorem 5).

    An error of hidden layer i passes the L - i maps between it and the last hidden layer, and then the last map. The
    paper numbers these maps 1 to L - i; here they are the ones that the error really passes.

    Args:
        weights: of the layer after each hidden layer, from the first; L in all, the last makes the output.
        magnitude: R of all hidden activations; all have the width of the widest.
    """
    *between, last = (w.double() for w in weights)
    layers, width = len(weights), max(w.shape[1] for w in weights)
    total = 0.0
    for i in range(1, layers + 1):
        passed = math.prod(float(w.abs().sum()) for w in between[i - 1 :])
        grown = _weight(keep) ** (layers - i + 1) * width ** ((layers - i) / 2)
        total += grown * float(last.norm()) * passed * tail_of_compressible(magnitude, p, keep)
    return total


def _weight(keep: int) -> float:
    if keep < 1:
        raise BadInput(f"at least one unit stays, not {keep}")
    return 14 + 7 / math.sqrt(keep)


def _below_one(p: float) -> float:
    if not 0 < p < 1:
        raise BadInput(f"these bounds are for p between 0 and 1, not {p}")
    return p


__all__ = [
    "SHRINK",
    "after_one_iteration",
    "chain",
    "mass_missing",
    "order",
    "rate",
    "residual",
    "tail",
    "tail_of_compressible",
]
