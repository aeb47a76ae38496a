"""Which units of a model are dead: nobody reads them, or they always give the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.packed import Left, Removed, is_linear
from niwaki.packing.constants import Steady, steady
from niwaki.packing.dead import look
from niwaki.surgery.ladders import ladder
from niwaki.units import Group


@dataclass(frozen=True, eq=False)
class Dead:
    """The dead units of one group, bool per unit: for each one reason. ``bound``: constant, and what reads it cannot
    take the constant on. ``why``: why not."""

    group: Group
    unread: np.ndarray
    silent: np.ndarray
    constant: np.ndarray
    bound: np.ndarray
    why: str
    steady: Steady | None = None

    def merely_unread(self) -> Dead:
        """The same without what is silent or constant."""
        return replace(self, silent=np.zeros_like(self.silent), constant=np.zeros_like(self.constant))

    @property
    def free(self) -> np.ndarray:
        """Those that may go."""
        return self.unread | self.silent | self.constant

    def legal(self) -> tuple[int, ...]:
        """As many of them as the group can lose in legal steps."""
        if not self.free.any() or self.group.changes_statistics:
            return ()
        rungs = ladder(self.group, (~self.free).astype(float), 1)
        alive = np.flatnonzero(~self.free[rungs.order])
        return rungs.chosen(rungs.steps_for(int(alive[0]) if alive.size else rungs.order.size))

    def removed(self, units: tuple[int, ...]) -> Removed:
        """The record of these units' going."""
        chosen = list(units)
        unread, silent, constant = (int(x[chosen].sum()) for x in (self.unread, self.silent, self.constant))
        return Removed(self.group.name, self.group.kind, len(self.group), unread, silent, constant)

    def left(self) -> list[Left]:
        """Why those that are here are here still."""
        group, found = self.group, []
        if self.free.any():
            found.append(Left(group.name, group.kind, int(self.free.sum()), _held(group, int(self.free.sum()))))
        if self.bound.any():
            found.append(Left(group.name, group.kind, int(self.bound.sum()), self.why))
        return found


def search(graph: Graph, model: nn.Module, inputs: Inputs) -> list[Dead]:
    """The dead units of every group that has some."""
    tensors = dict(graph.tensors())
    looks = {g.name: look(g, tensors, graph.aliases) for g in graph.groups}
    hollow = {n: x.hollow & ~x.unread for n, x in looks.items() if not x.group.changes_statistics and x.hollow.any()}
    mute = {name: looks[name].mute & asked for name, asked in hollow.items()}
    seen = steady(graph, model, inputs, hollow, mute)
    found = []
    for name, x in looks.items():
        none = np.zeros(len(x.group), bool)
        if name not in seen:
            found.append(Dead(x.group, x.unread, none, none, none, ""))
            continue
        s, why = seen[name], _bound(graph, model, seen[name])
        silent = s.zero | (x.mute & ~s.seen & ~s.unheard & ~x.unread)
        constant = s.steady & ~s.zero
        free, bound = (none, constant) if why else (constant, none)
        found.append(Dead(x.group, x.unread, silent, free, bound, why, s))
    return [d for d in found if d.free.any() or d.bound.any()]


def _bound(graph: Graph, model: nn.Module, seen: Steady) -> str:
    """Why a constant cannot be given to the biases of what reads it; empty if it can."""
    shared = {*graph.aliases, *graph.aliases.values()}
    for taker in seen.takers:
        bias = taker.module._parameters.get("bias")
        if not is_linear(taker.module):
            return f"they give a constant, and {taker.path!r}, which reads it, is no linear layer"
        if bias is None:
            return f"they give a constant, and {taker.path!r}, which reads it, has no bias to hold it"
        if shared & {taker.weight, f"{taker.path}.bias"}:
            return f"they give a constant, and {taker.path!r}, which reads it, shares its tensors"
        if bias.dtype not in (torch.float32, torch.float64):
            return f"they give a constant, which a bias in {bias.dtype} would round; pack in float32 and convert then"
    return ""


def _held(group: Group, count: int) -> str:
    if group.changes_statistics:
        return "a norm or an average runs over these units, and dividing by fewer would change the others"
    if group.parts:
        return f"equally much must go from each of {group.part_count} parts, and not all of them have more that is dead"
    if group.multiple > 1:
        return f"a multiple of {group.multiple} units must stay"
    if count >= len(group) - group.least:
        return f"{group.least} of its units must stay"
    return "units at the same places went in another group"


__all__ = ["Dead", "search"]
