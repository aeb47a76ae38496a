"""How far a matrix is from keeping the length of sparse vectors: restricted isometry constants.

``delta_k`` is the least number with ``(1 - delta_k) |x|^2 <= |W x|^2 <= (1 + delta_k) |x|^2`` for all x with at most k
entries (Candes and Tao 2005). The theory of i-SpaSP assumes ``delta_4s <= 0.1`` for W1 (Assumption 1).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from niwaki.errors import BadInput

MOST = 100_000  # supports that are looked at one by one
ASSUMED = 0.1


def isometry(second: Tensor, entries: int) -> float:
    """``delta_k`` exactly, for k = ``entries`` (more than there are columns: all of them).

    Looks at every choice of k columns: the extreme eigenvalues of their Gram matrix. Smaller choices lie within.

    Raises:
        BadInput: there are more than 100,000 choices; `isometry_bound` is cheap.
    """
    gram, entries = _gram(second, entries)
    count = math.comb(len(gram), entries)
    if count > MOST:
        raise BadInput(f"{count:,} choices of {entries} among {len(gram)} columns are too many; take isometry_bound")
    choices = torch.tensor(list(itertools.combinations(range(len(gram)), entries)))
    return max(_deviation(gram[c[:, :, None], c[:, None, :]]) for c in choices.split(4096))


def isometry_bound(second: Tensor, entries: int) -> float:
    """A number that ``delta_k`` cannot exceed, for any size.

    The smaller of two: the eigenvalues of the whole Gram matrix, between which those of every part lie; and
    Gershgorin's circles, with the k - 1 largest inner products of each column.
    """
    gram, entries = _gram(second, entries)
    lengths = float((gram.diagonal() - 1).abs().max())
    apart = gram - torch.diag(gram.diagonal())
    circles = apart.abs().sort(1, descending=True).values[:, : entries - 1].sum(1)
    return min(_deviation(gram), lengths + float(circles.max()))


def _deviation(gram: Tensor) -> float:
    """The largest distance of an eigenvalue from 1."""
    return float((torch.linalg.eigvalsh(gram) - 1).abs().max())


def _gram(second: Tensor, entries: int) -> tuple[Tensor, int]:
    if second.dim() != 2 or not second.shape[1] or entries < 1:
        raise BadInput(f"asked for {entries} of the columns of {tuple(second.shape)}; take a matrix and at least one")
    second = second.double()
    return second.T @ second, min(entries, second.shape[1])


__all__ = ["ASSUMED", "isometry", "isometry_bound"]
