"""The score protocol, and the sum over a unit's entries that most scores are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.ranks import is_sharded, whole
from niwaki.units import Group, Member


@runtime_checkable
class Score(Protocol):
    """Larger is worth more. Ties are broken by unit number: the lower one is removed first."""

    def __call__(self, group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
        """One float32 per unit of ``group``; ``tensors`` holds the model's parameters and buffers by name."""
        ...


SCORES: dict[str, type] = {}


def register(cls: type) -> type:
    """Make a score known by its class name, so that recipes and saved methods can name it."""
    SCORES[cls.__name__] = cls
    return cls


def watches(score: Score) -> bool:
    """Is the score summed up over training steps?"""
    return bool(getattr(score, "watches", False))


def sum_per_unit(
    group: Group, tensors: Mapping[str, Tensor], value: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum ``value(weights)`` (elementwise) over what each unit's makers hold; also how many entries that is.

    Returns:
        Two float32 tensors of length ``len(group)``.
    """
    total = count = torch.empty(0)
    for k, member in enumerate(group.makers):
        weight = tensors[member.name].detach()  # once: it may be read from disk
        if k == 0:
            total, count = (torch.zeros(len(group), dtype=torch.float32, device=weight.device) for _ in range(2))
        if weight.is_meta:
            raise BadInput(
                f"weights were asked for to score group {group.name!r}, and {member.name!r} has none: it is on the "
                "meta device. Load the weights first, or use a score that needs none (nk.scores.Random)."
            )
        along = _along(weight, member.dim, value)
        units, positions = _index(group, member, weight.device)
        total.index_add_(0, units, along[positions])
        count.index_add_(0, units, torch.full_like(positions, weight.numel() // weight.shape[member.dim]).float())
    return total, count


_AT_ONCE = 2**26
"""Entries whose values are made at once, so that a large matrix of half precision is never there in float32."""


def _along(weight: Tensor, dim: int, value: Callable[[Tensor], Tensor]) -> Tensor:
    """The sums of ``value`` over all other dimensions than ``dim``, in float32."""
    others = [d for d in range(weight.dim()) if d != dim]
    if is_sharded(weight):  # only the sums travel
        return whole(_over(others, value(weight.float())))
    step = max(1, _AT_ONCE * weight.shape[dim] // max(1, weight.numel()))
    return torch.cat([_over(others, value(part.float())) for part in weight.split(step, dim)])


def _over(dims: list[int], values: Tensor) -> Tensor:
    """The sums over these dimensions; of a vector, which has no others, the values: torch takes none for all."""
    return values.sum(dims) if dims else values


def _index(group: Group, member: Member, device: torch.device) -> tuple[Tensor, Tensor]:
    entries = group.entries[member.axis]
    return torch.as_tensor(entries.units, device=device), torch.as_tensor(entries.positions, device=device)
