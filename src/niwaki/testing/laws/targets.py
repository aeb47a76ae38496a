"""The law of targets: what was asked is met by the model that was cut, and not by a much smaller one than needed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import nn

from niwaki import measure
from niwaki.errors import UnreachableTarget
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.scores import Random
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import plan as choose
from niwaki.targets import Macs, Params, Ratio, Target
from niwaki.testing.laws.verdict import LawBroken, attempting, demand
from niwaki.units import Group, Plan

NEARLY_ALL = 0.999999


def reaches_target(graph: Graph, inputs: Inputs, target: Target, seed: int = 0) -> None:
    """A plan for ``target`` meets it, measured on the cut model; no layer is empty; widths are round; a model that is
    one step larger would miss it. A target that is refused is really out of reach.

    Raises:
        LawBroken: with what was asked and what was found.
    """
    with attempting(f"planning and cutting for {target}"):
        plan = _plan(graph, target, seed)
        if plan is None:
            return _out_of_reach(graph, inputs, target)
        small = cut(graph.model, plan)
    _nothing_is_empty(small, target)
    _widths_are_round(graph, plan, target)
    if isinstance(target, Ratio):
        _ratio_is_met(graph, plan, target)
    elif isinstance(target, (Macs, Params)):
        _share_is_met(graph, plan, small, inputs, target)
    return None


def _plan(graph: Graph, target: Target, seed: int) -> Plan | None:
    try:
        return choose(graph, Random(seed), target)
    except UnreachableTarget:
        return None


def _nothing_is_empty(small: nn.Module, target: Target) -> None:
    for name, t in [*small.named_parameters(), *small.named_buffers()]:
        demand(0 not in t.shape, f"{target} left {name!r} empty: its shape is {tuple(t.shape)}")


def _widths_are_round(graph: Graph, plan: Plan, target: Target) -> None:
    for group, removed in _choices(graph, plan):
        width = _width(group, removed)
        demand(
            not removed or width % target.round_to == 0,
            f"{target} left {group.name!r} with a width of {width}, no multiple of {target.round_to}",
        )


def _width(group: Group, removed: tuple[int, ...]) -> int:
    """Positions left on the axis that makes the units."""
    entries = group.entries[group.makers[0].axis]
    return int(entries.positions.size - entries.of(np.array(removed, dtype=np.int64)).size)


# -- Ratio ------------------------------------------------------------------------------------------------


def _ratio_is_met(graph: Graph, plan: Plan, target: Ratio) -> None:
    picked = {group.name for group in target.picks(graph.groups)}
    choices = list(_choices(graph, plan))
    for group, removed in choices:
        demand(len(removed) < len(group), f"{target} removes every unit of {group.name!r}")
        demand(not removed or group.name in picked, f"{target} removes units of {group.name!r}, which it leaves out")
    choices = [(group, removed) for group, removed in choices if group.name in picked]
    if target.scope == "global":
        return _met_together(choices, target)
    for group, removed in choices:
        most = _most(group, min(_up(target.share_of(group.name) * len(group)), len(group) - 1), target.round_to)
        demand(
            len(removed) == most,
            f"{target} should remove {most} of the {len(group)} units of {group.name!r} and removes {len(removed)}",
        )
    return None


def _met_together(choices: list[tuple[Group, tuple[int, ...]]], target: Ratio) -> None:
    total = sum(len(group) for group, _ in choices)
    gone = sum(len(removed) for _, removed in choices)
    asked = target.share_of("") * total
    demand(gone <= asked + 1e-9, f"{target} removes {gone} of {total} units, more than asked")
    # The steps of all groups stand in one line, and we do not know whose is next: the widest must not fit.
    step = max((_next(group, removed, target.round_to) for group, removed in choices), default=0)
    demand(not step or gone + step > asked, f"{target} removes {gone} of {total} units though {step} more would fit")


def _next(group: Group, removed: tuple[int, ...], multiple: int) -> int:
    """How many units the next legal step would take; 0 if there is none."""
    return next((n - len(removed) for n in _legal_counts(group, multiple) if n > len(removed)), 0)


def _most(group: Group, asked: int, multiple: int) -> int:
    """The most units that may go and are no more than ``asked``."""
    return max((n for n in _legal_counts(group, multiple) if n <= asked), default=0)


def _legal_counts(group: Group, multiple: int) -> list[int]:
    """Numbers of units that may go: equally many of every part, and what is left a round width."""
    entries = group.entries[group.makers[0].axis]
    here = np.unique(entries.units).size
    wide = max(1, round(entries.positions.size / here))
    each = _each_time(group)
    finest = max(group.parts, key=len, default=None)
    held = [len(group)] if finest is None else np.bincount(finest.of[finest.of >= 0]).tolist()
    times = min(math.ceil(n / k) for n, k in zip(held, each, strict=True))
    balanced = [k * sum(each) for k in range(times)]
    enough = [n for n in balanced if len(group) - n >= group.least and (len(group) - n) % group.multiple == 0]
    return [n for n in enough if n == 0 or (len(group) - n) * here // len(group) * wide % multiple == 0]


def _each_time(group: Group) -> list[int]:
    """How many units of each part of the finest balance the smallest legal step takes."""
    if not group.parts:
        return [1]
    finest = max(group.parts, key=len)
    weights = [int(finest.weight[finest.of == k][0]) for k in range(len(finest))]
    return [math.lcm(*weights) // w for w in weights]


def _up(value: float) -> int:
    # 0.3 × 10 is 3.0000000000000004, and three units are meant.
    return math.ceil(value - 1e-9)


# -- shares of a cost -------------------------------------------------------------------------------------


def _share_is_met(graph: Graph, plan: Plan, small: nn.Module, inputs: Inputs, target: Macs | Params) -> None:
    found, dense = _cost(small, inputs, target), _cost(graph.model, inputs, target)
    foretold = _foretold(graph, _selection(plan), target)
    if graph.observation.real and isinstance(target, Macs):
        found = foretold  # which rows a router sends where changes with the cut
    demand(found == foretold, f"{target}: the graph foretells {foretold:,} and the cut model has {found:,}")
    demand(
        found <= target.remain * dense,
        f"{target} left {found:,} of {dense:,}: that is {found / dense:.4f}, more than was asked",
    )
    larger = [_foretold(graph, chosen, target) for chosen in _one_step_larger(graph, plan, target)]
    if larger:
        need = f"{target} left {found:,} of {dense:,}, though a model one step larger ({max(larger):,}) would do"
        demand(max(larger) > target.remain * dense, need)


def _out_of_reach(graph: Graph, inputs: Inputs, target: Target) -> None:
    """Even the smallest legal model must miss a target that was refused."""
    if not isinstance(target, (Macs, Params)):
        raise LawBroken(f"{target} was refused, and every ratio can be had")
    least = Ratio(NEARLY_ALL, only=target.only, skip=target.skip, round_to=target.round_to)
    small = cut(graph.model, choose(graph, Random(0), least))
    found, dense = _cost(small, inputs, target), _cost(graph.model, inputs, target)
    demand(found > target.remain * dense, f"{target} was refused, and a legal plan leaves {found:,} of {dense:,}")


def _one_step_larger(graph: Graph, plan: Plan, target: Target) -> Iterator[dict[str, tuple[int, ...]]]:
    """Selections that give one group its last step back."""
    chosen = _selection(plan)
    for group, removed in _choices(graph, plan):
        fewer = max((n for n in _legal_counts(group, target.round_to) if n < len(removed)), default=None)
        if fewer is not None:
            yield {**chosen, group.name: _first_of_each_part(group, removed, fewer)}


def _first_of_each_part(group: Group, removed: tuple[int, ...], count: int) -> tuple[int, ...]:
    """``count`` of the units, equally many of every part of the finest balance."""
    if not group.parts:
        return removed[:count]
    finest = max(group.parts, key=len)
    each = _each_time(group)
    times = count // sum(each)
    chosen = [u for k, n in enumerate(each) for u in [u for u in removed if finest.of[u] == k][: times * n]]
    return tuple(sorted(chosen))


def _foretold(graph: Graph, chosen: dict[str, tuple[int, ...]], target: Macs | Params) -> int:
    return graph.macs(chosen) if isinstance(target, Macs) else graph.params(chosen)


def _cost(model: nn.Module, inputs: Inputs, target: Macs | Params) -> int:
    return measure.macs(model, inputs) if isinstance(target, Macs) else measure.params(model)


def _selection(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {name: choice.removed for name, choice in plan.choices.items()}


def _choices(graph: Graph, plan: Plan) -> Iterator[tuple[Group, tuple[int, ...]]]:
    """Every group that the plan speaks of, with the units that go."""
    for name, choice in plan.choices.items():
        yield graph[name], choice.removed
