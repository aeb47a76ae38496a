"""The least of all single weights where every rank holds a part of them: found by counting, no weight travels.

A float is read as a whole number of the same order, and found a byte at a time from the front: how many weights of the
pool have each value of the byte is counted on every rank and summed up. Of equals, the ones that come first are found
in the same way by their places. So the same weights go as in one process, to the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from niwaki.ranks import alike, as_part, local, places, shares
from niwaki.targets import count

BINS = 256
"""Values of a byte."""
BEST = 2**32 - 1
"""Above the number of any float."""


@dataclass(frozen=True, eq=False)
class _Held:
    """What this rank holds of one tensor: the whole numbers that stand for its worths, and ``start``, the place of the
    tensor in the pool."""

    worth: Tensor
    keys: Tensor
    start: int

    def places(self, at: Tensor) -> Tensor:
        """Where in the pool these entries lie."""
        return places(self.worth, at) + self.start


def least_of_shards(worth: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """This share of all weights together, bool tensors that lie as the worths do; every tensor keeps its best."""
    held, start = [], 0
    for each in worth.values():
        held.append(_Held(each, _ordered(local(each).flatten().float()), start))
        start += each.numel()
    _protect(held)
    chosen = _least(held, min(count(share, start), start - len(held)))
    return {
        name: as_part(gone.reshape(local(each.worth).shape), each.worth)
        for name, each, gone in zip(worth, held, chosen, strict=True)
    }


def _protect(held: Sequence[_Held]) -> None:
    """The best of every tensor, of equals the last, is worth more than anything."""
    best = _most(held, [each.keys for each in held])
    equal = [(each.keys == b).nonzero().flatten() for each, b in zip(held, best, strict=True)]
    spots = [each.places(at) for each, at in zip(held, equal, strict=True)]
    last = _most(held, spots)
    for each, at, spot, here in zip(held, equal, spots, last, strict=True):
        each.keys[at[spot == here]] = BEST


def _most(held: Sequence[_Held], numbers: Sequence[Tensor]) -> list[int]:
    """The largest number of every tensor on any rank."""
    found = [0] * len(held)
    for at in alike([each.worth for each in held]):
        mine = torch.stack([numbers[k].max() if numbers[k].numel() else numbers[k].new_tensor(-1) for k in at])
        for k, most in zip(at, shares(held[at[0]].worth, "max")(mine).tolist(), strict=True):
            found[k] = most
    return found


def _least(held: Sequence[_Held], least: int) -> list[Tensor]:
    """Bool per entry: is it among the ``least``?"""
    if least == 0:
        return [torch.zeros_like(each.keys, dtype=torch.bool) for each in held]
    total = _totals(held)
    bound, below = _nth([each.keys for each in held], least - 1, 4, total)
    equal = [(each.keys == bound).nonzero().flatten() for each in held]
    spots = [each.places(at) for each, at in zip(held, equal, strict=True)]
    last, _ = _nth(spots, least - 1 - below, _bytes(held[-1].start + held[-1].worth.numel()), total)
    gone = []
    for each, at, spot in zip(held, equal, spots, strict=True):
        goes = each.keys < bound
        goes[at[spot <= last]] = True
        gone.append(goes)
    return gone


Total = Callable[[Sequence[Tensor]], Tensor]
"""Of counts for every tensor to their sum over tensors and ranks."""


def _nth(keys: Sequence[Tensor], n: int, size: int, total: Total) -> tuple[int, int]:
    """The key at place ``n`` in the order of all keys (whole numbers of ``size`` bytes, at least 0), and how many are
    below it."""
    found, below = 0, 0
    left = list(keys)
    for shift in _shifts(size):
        bytes_ = [(each >> shift) & (BINS - 1) for each in left]
        counts = total([torch.bincount(b, minlength=BINS) for b in bytes_]).cumsum(0)
        byte = int((counts <= n - below).sum())
        before = int(counts[byte - 1]) if byte else 0
        below += before
        found |= byte << shift
        left = [each[b == byte] for each, b in zip(left, bytes_, strict=True)]
    return found, below


def _bytes(most: int) -> int:
    return max(1, -(-most.bit_length() // 8))


def _shifts(size: int) -> Iterator[int]:
    return iter(range(8 * (size - 1), -1, -8))


def _totals(held: Sequence[_Held]) -> Total:
    """Tensors that lie alike are summed up before they are sent."""

    groups = alike([each.worth for each in held])

    def total(counts: Sequence[Tensor]) -> Tensor:
        sums = [shares(held[at[0]].worth)(torch.stack([counts[k] for k in at]).sum(0)) for at in groups]
        return torch.stack([each.to(sums[0].device) for each in sums]).sum(0)

    return total


def _ordered(values: Tensor) -> Tensor:
    """Whole numbers of 32 bits in the order of floats; -0.0 is 0.0."""
    bits = (values + 0.0).view(torch.int32).long()
    return torch.where(bits < 0, -bits - 1, bits + 2**31)


__all__ = ["least_of_shards"]
