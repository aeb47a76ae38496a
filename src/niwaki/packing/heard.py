"""Which makers of a unit had something to tell on the inputs that were run.

A unit is ``relu(A x + B c)``; its row of A is zero, its row of B is not, and c happened to be zero: it looks constant,
and is not. So the output of each layer that makes units is watched. Where it stays the same at a unit's place, though
its slice is blown up, that slice was not heard, and nobody can say what it would have told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from niwaki.calibration.takers import CONVOLUTIONS, TRANSPOSED, owner
from niwaki.packed import is_linear
from niwaki.units import Group, Member

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True, eq=False)
class Voice:
    """A tensor that makes units. ``units``, ``positions``: which unit has a slice where that is not zero.

    ``paths``: the layers of which the output has one number for each position; none where it cannot be watched.
    """

    units: np.ndarray
    positions: np.ndarray
    paths: tuple[str, ...]


def voices_of(
    group: Group, modules: Mapping[str, nn.Module], aliases: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> list[Voice]:
    """What of a group's makers is not zero. ``modules``, ``tensors``: the model's, by path and name.

    In a recurrent layer what reads the state makes the next one."""
    makers = [m for m in group.members if m in group.makers or _carries_on(m, modules)]
    return [_voice(group, m, modules, aliases, tensors[m.name]) for m in makers if tensors[m.name].dim() > 1]


def unheard_of(voices: Sequence[Voice], still: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Bool per unit: is there something that makes it and was not heard? ``still``: of the layers that were called,
    where their output has always been the same."""
    found = np.zeros(count, bool)
    for voice in voices:
        heard = np.zeros(voice.units.size, bool)
        for path in voice.paths:
            if path in still and voice.positions.max(initial=-1) < still[path].size:
                heard |= ~still[path][voice.positions]
        found[voice.units[~heard]] = True
    return found


def _carries_on(member: Member, modules: Mapping[str, nn.Module]) -> bool:
    return member.role == "follows" and isinstance(modules.get(owner(member.name)), RECURRENT)


def _voice(
    group: Group, maker: Member, modules: Mapping[str, nn.Module], aliases: Mapping[str, str], tensor: Tensor
) -> Voice:
    entries = group.entries[maker.axis]
    alive = (tensor.detach() != 0).movedim(maker.dim, 0).flatten(1).any(1).cpu().numpy()[entries.positions]
    names = [maker.name, *(other for other, name in aliases.items() if name == maker.name)]
    owners = [(owner(name), modules.get(owner(name))) for name in names]
    paths = tuple(path for path, module in owners if module is not None and _gives(module, maker.dim))
    if not paths and not any(isinstance(module, RECURRENT) for _, module in owners):
        # Read by a module of its own kind. What is zero in part (a query without its key) is silent by its product.
        broken = np.zeros(len(group), bool)
        broken[entries.units[~alive]] = True
        alive = alive & ~broken[entries.units]
    return Voice(entries.units[alive], entries.positions[alive], paths)


def _gives(module: nn.Module, dim: int) -> bool:
    """Is this dimension of the module's weight that of its output's features, position by position?"""
    if isinstance(module, nn.Embedding) or (is_linear(module) and not isinstance(module, nn.Linear)):
        return dim == 1
    if isinstance(module, TRANSPOSED):
        return dim == 1 and module.groups == 1
    return isinstance(module, (nn.Linear, *CONVOLUTIONS)) and dim == 0


__all__ = ["Voice", "unheard_of", "voices_of"]
