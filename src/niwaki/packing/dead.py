"""Which units look dead by their zeros alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from niwaki.units import Axis, Group, Member


@dataclass(frozen=True, eq=False)
class Look:
    """What the zeros of a group say, bool per unit.

    ``unread``: all that reads the unit is zero. ``hollow``: some of what makes it is zero, so that it may be silent or
    constant. ``mute``: as hollow, and the biases beside those zeros are zero too.
    """

    group: Group
    unread: np.ndarray
    hollow: np.ndarray
    mute: np.ndarray


def look(group: Group, tensors: Mapping[str, Tensor], aliases: Mapping[str, str]) -> Look:
    """Look at the tensors of a group. ``aliases``: other names of shared ones."""
    alive = {m.axis: _alive(tensors[m.name], m.dim) for m in group.members}
    takers = [m for m in group.members if m.role == "takes"]
    makers = [m for m in group.members if m.role != "takes" and not _is_bias(m, tensors)]
    hollow, mute, taken, read = (np.zeros(len(group), bool) for _ in range(4))
    for m in takers:
        taken |= _units(group, m.axis, np.ones_like(alive[m.axis]))
        read |= _units(group, m.axis, alive[m.axis])
    for m in makers:
        zero = ~alive[m.axis]
        hollow |= _units(group, m.axis, zero)
        mute |= _units(group, m.axis, zero & _no_bias(m, group, alive, aliases))
    return Look(group, taken & ~read, hollow, mute)


def _alive(t: Tensor, dim: int) -> np.ndarray:
    """Per position of a dimension: is any entry there not zero?"""
    found: np.ndarray = (t.detach() != 0).movedim(dim, 0).reshape(t.shape[dim], -1).any(1).cpu().numpy()
    return found


def _units(group: Group, axis: Axis, marks: np.ndarray) -> np.ndarray:
    """Per unit: is any of its positions on the axis marked?"""
    entries = group.entries[axis]
    return np.bincount(entries.units[marks[entries.positions]], minlength=len(group)) > 0


def _is_bias(member: Member, tensors: Mapping[str, Tensor]) -> bool:
    """Something that is added (or a statistic), of which zeros say nothing."""
    leaf = member.name.rpartition(".")[2]
    return "bias" in leaf or (tensors[member.name].dim() == 1 and leaf != "weight")


def _no_bias(maker: Member, group: Group, alive: Mapping[Axis, np.ndarray], aliases: Mapping[str, str]) -> np.ndarray:
    """Per position of a maker: is there nothing that its module adds?"""
    name = f"{maker.name.rpartition('.')[0]}.bias"
    axis, count = Axis(aliases.get(name, name), 0), alive[maker.axis].size
    if axis not in group.entries:
        return np.ones(count, bool)
    return ~alive[axis] if alive[axis].size == count else np.zeros(count, bool)


__all__ = ["Look", "look"]
