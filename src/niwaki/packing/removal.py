"""Remove the dead units of a model, round by round, each round tried before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from niwaki.errors import IllegalPlan, NothingToPrune, UntraceableModel
from niwaki.graph import Graph
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs
from niwaki.packed import Left, Removed
from niwaki.packing.constants import shaken
from niwaki.packing.sameness import same
from niwaki.packing.search import Dead, search
from niwaki.surgery.certify import Check
from niwaki.surgery.cut import cut_
from niwaki.surgery.decide import make_plan
from niwaki.tracing import trace
from niwaki.units import Axis, Group

ROUNDS = 8
"""What was read only by units that went is dead in the next round; so often is looked again."""
MADE_BY = {"name": "pack", "what": "units that were dead"}

Chosen = Mapping[str, "tuple[int, ...]"]


@dataclass(frozen=True)
class Removal:
    """The model without its dead units, what went, what stays though it looks dead, and what else is to be told."""

    model: nn.Module
    removed: tuple[Removed, ...] = ()
    left: tuple[Left, ...] = ()
    note: str = ""


def remove_dead(model: nn.Module, inputs: Inputs) -> Removal:
    """Remove units that are dead; ``model`` is not touched."""
    before = model
    removed: list[Removed] = []
    refused: dict[str, Left] = {}
    left: list[Left] = []
    for _ in range(ROUNDS):
        try:
            graph = trace(model, inputs)
        except (UntraceableModel, NothingToPrune) as trouble:
            return Removal(model, tuple(removed), note=f"No unit was removed: {trouble}" if not removed else "")
        found = {d.group.name: d for d in search(graph, model, inputs)}
        chosen = _apart(found, graph, refused)
        chosen, given_up = _exact(chosen, found, graph, partial(_trouble, found, graph, before, model, inputs))
        refused |= given_up
        left = [x for name, d in found.items() if name not in refused for x in d.left()]
        if not chosen:
            break
        removed += [found[name].removed(units) for name, units in chosen.items()]
        model = _without(chosen, found, graph, model)
    return Removal(model, tuple(removed), (*left, *refused.values()))


def _apart(found: Mapping[str, Dead], graph: Graph, refused: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Legal choices of groups that have no tensor axis in common; the one that gives most entries first."""
    legal = {name: d.legal() for name, d in found.items() if name not in set(refused)}
    worth = {name: _entries(graph, name, units) for name, units in legal.items() if units}
    chosen: dict[str, tuple[int, ...]] = {}
    taken: set[Axis] = set()
    for name in sorted(worth, key=lambda n: (-worth[n], n)):
        axes = set(graph[name].entries)
        if not axes & taken:
            chosen[name] = legal[name]
            taken |= axes
    return chosen


def _entries(graph: Graph, name: str, units: Sequence[int]) -> int:
    """How many entries of tensors go with the units."""
    gone = graph[name].removes(np.asarray(units))
    return sum(positions.size * _slice(graph.shapes[axis.name], axis.dim) for axis, positions in gone.items())


def _slice(shape: tuple[int, ...], dim: int) -> int:
    return int(np.prod([n for d, n in enumerate(shape) if d != dim], dtype=np.int64))


def _exact(
    chosen: dict[str, tuple[int, ...]], found: Mapping[str, Dead], graph: Graph, trouble: Callable[[Chosen], str]
) -> tuple[dict[str, tuple[int, ...]], dict[str, Left]]:
    """What of the choice changes no answer; and what would, and is given up."""
    if not chosen or not trouble(chosen):
        return chosen, {}
    sound: dict[str, tuple[int, ...]] = {}
    given_up: dict[str, Left] = {}
    for name, units in chosen.items():
        told = trouble({name: units})
        sound[name] = units if not told else _merely_unread(found[name], trouble)
        if told:
            given_up[name] = _left(graph[name], len(units) - len(sound[name]), told)
    sound = {name: units for name, units in sound.items() if units}
    together = trouble(sound) if sound else ""
    if together:
        given_up |= {name: _left(graph[name], len(chosen[name]), together) for name in sound}
        sound = {}
    return sound, given_up


def _merely_unread(dead: Dead, trouble: Callable[[Chosen], str]) -> tuple[int, ...]:
    """Of a group that was judged wrongly, what is surest: units that nobody reads."""
    units = dead.merely_unread().legal()
    return units if units and not trouble({dead.group.name: units}) else ()


def _left(group: Group, count: int, told: str) -> Left:
    return Left(group.name, group.kind, count, f"without them the model {told}")


def _trouble(
    found: Mapping[str, Dead], graph: Graph, before: nn.Module, model: nn.Module, inputs: Inputs, chosen: Chosen
) -> str:
    """How the answers change when these units go, or hold something else; empty if they do not."""
    try:
        checks = [same(before, _without(chosen, found, graph, model), inputs)]
        if checks[0].holds:
            checks.append(same(model, shaken(graph, model, chosen, 1.0), inputs))
    except IllegalPlan as trouble:
        return f"cannot be cut: {trouble}"
    except Exception as trouble:  # code of any model, on sizes that it never saw
        return f"does not run: {type(trouble).__name__}: {trouble}"
    return next((_told(check) for check in checks if not check.holds), "")


def _told(check: Check) -> str:
    return f"answers otherwise ({check.detail if check.worst is None else f'by {check.worst:.1e}'})"


def _without(chosen: Chosen, found: Mapping[str, Dead], graph: Graph, model: nn.Module) -> nn.Module:
    """A copy without these units, their constants in the biases of what read them."""
    small = duplicate(model)
    for name, units in chosen.items():
        _fold(small, found[name], units)
    cut_(small, make_plan(graph, chosen, MADE_BY), config=False)
    return small


@torch.no_grad()
def _fold(model: nn.Module, dead: Dead, units: Sequence[int]) -> None:
    """``b + W c`` in place of ``b``, for the columns of constant units."""
    if dead.steady is None or not dead.constant.any():
        return
    goes = np.zeros(len(dead.group), bool)
    goes[list(units)] = True
    goes &= dead.constant
    for taker in dead.steady.takers:
        layer: Any = model.get_submodule(taker.path)
        of = taker.unit_of.numpy()
        columns = torch.from_numpy(np.flatnonzero((of >= 0) & goes[of]))
        weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.t()
        device = weight.device
        values = dead.steady.values[taker.path][columns].to(device)
        layer.bias += (weight[:, columns.to(device)].double() @ values).to(layer.bias.dtype)


__all__ = ["Removal", "remove_dead"]
