"""Gradients of penalties on weights of which every rank holds a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from niwaki.penalties.base import Penalty, Summing
from niwaki.ranks import is_sharded, layout, local, numbers, part, shares

ROWS_COLUMNS = (0, 1)
Sums = tuple[Tensor, ...]
"""Of all rows, and of all columns, in shapes that broadcast against the weight."""


def gradients(penalty: Penalty, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Of each weight by name the penalty's gradient, on this rank's part of it. Every rank must ask for the same.

    Sums over rows and columns of all weights that lie on the same ranks travel together: what an exchange takes is
    mostly the same for few bytes and for many.
    """
    summing = penalty if isinstance(penalty, Summing) else None  # asked once: of a protocol it takes its time
    sums = {} if summing is None else _summed(summing, weights)
    for name, weight in weights.items():
        if summing is not None and name in sums:
            yield name, _from_sums(summing, weight, sums[name])
        else:
            yield name, local(penalty.gradient(weight))


def _from_sums(penalty: Summing, weight: Tensor, sums: Sums) -> Tensor:
    rows, columns = (part(penalty.slopes(s, along, weight.shape), weight) for along, s in enumerate(sums))
    mine = local(weight)
    return torch.add(rows.expand_as(mine), columns).mul_(penalty.base(mine))


def _summed(penalty: Summing, weights: Mapping[str, Tensor]) -> dict[str, Sums]:
    """By name, of weights that are dealt out."""
    found: dict[str, Sums] = {}
    for names in _alike(weights):
        parts = [mine for name in names for mine in _mine(penalty, weights[name])]
        every = shares(weights[names[0]])(torch.cat([each.flatten() for each in parts]))
        whole = [t.reshape(each.shape) for t, each in zip(every.split([p.numel() for p in parts]), parts, strict=True)]
        found |= {name: tuple(whole[2 * k : 2 * k + 2]) for k, name in enumerate(names)}
    return found


def _alike(weights: Mapping[str, Tensor]) -> Iterable[list[str]]:
    """The names of those that are dealt out, of each layout and type together."""
    found: dict[tuple[object, torch.dtype], list[str]] = {}
    for name, weight in weights.items():
        if is_sharded(weight):
            found.setdefault((layout(weight), weight.dtype), []).append(name)
    return found.values()


def _mine(penalty: Summing, weight: Tensor) -> list[Tensor]:
    """This rank's share of the sums over rows, and over columns: zero for those of which it holds nothing."""
    terms = penalty.terms(local(weight))
    found = []
    for along in ROWS_COLUMNS:
        held = terms.sum([d for d in range(terms.dim()) if d != along])
        every = held.new_zeros(weight.shape[along])
        every[numbers(weight, along)] = held
        found.append(every.reshape([-1 if d == along else 1 for d in range(terms.dim())]))
    return found


__all__ = ["gradients"]
