"""From scores and a target to a legal plan."""

from __future__ import annotations

import glob
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from niwaki.errors import BadInput, UnreachableTarget
from niwaki.graph import Graph
from niwaki.scores import L1, Score
from niwaki.surgery.ladders import Ladder, ladder
from niwaki.surgery.stored import Stored
from niwaki.targets import Macs, Params, Ratio, Target, count
from niwaki.units import Choice, Group, Plan, Selection
from niwaki.wording import some

logger = logging.getLogger("niwaki")


def plan(
    graph: Graph,
    score: Score | None = None,
    target: Target | None = None,
    groups: Iterable[Group | str] | None = None,
    *,
    weights: Mapping[str, Tensor] | None = None,
) -> Plan:
    """Choose which units go.

    Args:
        graph: from :func:`niwaki.trace`.
        score: what a unit is worth; :class:`niwaki.scores.L1` if None.
        target: how small; ``Ratio(0.5)`` if None.
        groups: consider these only (groups or their names); all of the graph's if None.
        weights: score these in place of the model's own, by the model's names; for instance those of a
            :class:`niwaki.Checkpoint` on disk, one in memory at a time, beside a :func:`niwaki.hollow` model.

    Raises:
        UnreachableTarget: even the smallest legal model misses the target; the message says what can be had.
        NothingToPrune: the graph offers nothing.
    """
    score, target = score or L1(), target or Ratio(0.5)
    own = dict(graph.tensors())
    tensors = own if weights is None else Stored(weights, own, graph.aliases)
    found = _planned(graph, score, target, _wanted(graph, groups), tensors)
    tell_if_nothing(graph, target, {name: choice.removed for name, choice in found.choices.items()})
    return found


def tried(graph: Graph, score: Score, target: Target) -> Plan:
    """As :func:`plan`, for plans that are only looked at: that one takes nothing is told to nobody."""
    return _planned(graph, score, target, graph.groups, dict(graph.tensors()))


def _planned(
    graph: Graph, score: Score, target: Target, groups: Iterable[Group], tensors: Mapping[str, Tensor]
) -> Plan:
    chosen = select(graph, {g.name: score(g, tensors) for g in groups}, target)
    return make_plan(graph, chosen, {"score": _json(score), "target": _json(target)})


def select(
    graph: Graph, worth: Mapping[str, Tensor], target: Target, *, as_is: bool = False
) -> dict[str, tuple[int, ...]]:
    """The units that go, by group, given what each unit is worth (one number per unit, by group name). ``as_is``: where
    groups compete, worths are compared as they are, all divided by one mean and not by that of each group."""
    graph.require_groups()
    if target.scope == "layer":
        raise BadInput("scope='layer' is for single weights; units compete within their group, or all: 'global'")
    picked = target.picks([g for g in graph.groups if g.name in worth])
    ladders = [ladder(g, worth[g.name].detach().double().cpu().numpy(), rounded(g, target.round_to)) for g in picked]
    if as_is:
        ladders = _by_one_measure(ladders)
    if isinstance(target, Ratio):
        return not_empty(graph, ladders, _by_ratio(ladders, target))
    if isinstance(target, Macs):
        return not_empty(graph, ladders, by_cost(ladders, target, graph.macs, target.remain, "multiply-adds"))
    if isinstance(target, Params):
        return not_empty(graph, ladders, by_cost(ladders, target, graph.params, target.remain, "parameters"))
    if target.decided_by:
        room, _, name = target.decided_by.partition(":")
        return not_empty(graph, ladders, getattr(import_module(room), name)(graph, ladders, target))
    raise BadInput(
        f"units cannot be chosen by {type(target).__name__}: use nk.Ratio, nk.Macs, nk.Params, nk.Memory or nk.Latency"
    )


def tell_if_nothing(graph: Graph, target: Target, chosen: Mapping[str, Sequence[int]]) -> None:
    """Log it where shares above zero take no unit at all: no group has a smaller width that its target allows."""
    picked = target.picks(graph.groups)
    if any(len(units) for units in chosen.values()) or not isinstance(target, Ratio):
        return
    if any(target.share_of(group.name) > 0 for group in picked):
        widths = some([f"{group.name!r} of {len(group)}" for group in picked])
        rounded = f" down to a multiple of {target.round_to}" if target.round_to != 1 else ""
        logger.warning("%r takes no unit: no group can lose any%s (%s)", target, rounded, widths)


def _by_one_measure(ladders: Sequence[Ladder]) -> list[Ladder]:
    """With the mean of all units, so that worths are of a size that solvers take."""
    total, units = sum(r.mean * len(r.group) for r in ladders), sum(len(r.group) for r in ladders)
    return [replace(rungs, mean=total / units if total > 0 else 1.0) for rungs in ladders]


def not_empty(graph: Graph, ladders: list[Ladder], chosen: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Groups can share an axis (the rows and the columns of a grid). Where together they would take all of it, the one
    that gives most of its own gives a step back, until something stays."""
    by_name = {rungs.group.name: rungs for rungs in ladders}
    while True:
        removed = graph.removed(chosen)
        empty = next((axis for axis, gone in removed.items() if len(gone) == graph.shapes[axis.name][axis.dim]), None)
        if empty is None:
            return chosen
        sharing = [n for n, units in chosen.items() if units and empty in by_name[n].group.entries]
        name = max(sharing, key=lambda n: (len(chosen[n]) / len(by_name[n].group), n))
        rungs = by_name[name]
        chosen = {**chosen, name: rungs.chosen(rungs.steps_for(len(chosen[name])) - 1)}


def make_plan(graph: Graph, selection: Selection, made_by: Mapping[str, Any] | None = None) -> Plan:
    """The plan that removes exactly these units (by group name), checked.

    Raises:
        IllegalPlan: it would empty a layer or break a balance.
    """
    chosen = {name: np.array(sorted(units), dtype=np.int64) for name, units in selection.items() if len(units)}
    for name, units in chosen.items():
        graph[name].check(units)
    units_of = {name: tuple(u.tolist()) for name, u in chosen.items()}
    removed = graph.removed(units_of)
    choices = {
        g.name: Choice(g.kind, len(g), tuple(chosen.get(g.name, np.empty(0, int)).tolist())) for g in graph.groups
    }
    tensors = {n: s for n, s in graph.shapes.items() if n not in graph.aliases}
    return Plan(tensors, removed, choices, graph.aliases, dict(made_by or {}), graph.numbers(units_of))


def quotas(graph: Graph, names: Iterable[str], target: Target) -> dict[str, tuple[np.ndarray, tuple[int, ...]]]:
    """For groups whose units are chosen in another way than by a score: the part of each unit (int64), and how many of
    each part must stay to reach the target. Any choice of so many is legal: only counts decide.

    Raises:
        BadInput: the target lets groups compete, which takes a score.
        UnreachableTarget: as :func:`plan`.
    """
    if target.scope == "global":
        raise BadInput(
            "scope='global' compares the scores of units of different groups, and here units are chosen group by "
            "group: use scope='group', or nk.Ratio by pattern for other shares"
        )
    groups = [graph[name] for name in names]
    chosen = select(graph, {g.name: torch.zeros(len(g)) for g in groups}, within(target, names))
    return {g.name: _quota(g, chosen.get(g.name, ())) for g in groups}


def within(target: Target, names: Iterable[str]) -> Target:
    """The same target, of these groups only."""
    patterns = {glob.escape(name): name for name in names}  # a module may be called "conv[0]"
    if isinstance(target, Ratio) and isinstance(target.removed, Mapping):
        target = replace(target, removed={p: target.share_of(name) for p, name in patterns.items()})
    return replace(target, only=tuple(patterns), skip=())


def _quota(group: Group, gone: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Units that belong to the same part of every balance are of one part here."""
    rows = [part.of for part in group.parts] or [np.zeros(len(group), np.int64)]
    _, parts = np.unique(np.stack(rows), axis=1, return_inverse=True)
    parts = parts.ravel().astype(np.int64)
    stays = np.ones(len(group), bool)
    stays[list(gone)] = False
    return parts, tuple(np.bincount(parts[stays], minlength=int(parts.max()) + 1).tolist())


def _wanted(graph: Graph, groups: Iterable[Group | str] | None) -> list[Group]:
    if groups is None:
        return list(graph.groups)
    return [graph[g if isinstance(g, str) else g.name] for g in groups]


def rounded(group: Group, multiple: int) -> int:
    """So many units, or a multiple of that, make the group's width a multiple of ``multiple``."""
    first = group.entries[group.makers[0].axis]
    here = np.unique(first.units).size
    positions = max(1, round(first.positions.size / here))
    return multiple // math.gcd(multiple, positions) * max(1, round(len(group) / here))


def _by_ratio(ladders: list[Ladder], target: Ratio) -> dict[str, tuple[int, ...]]:
    if target.scope == "global":
        assert not isinstance(target.removed, Mapping)
        most = target.removed * sum(len(x.group) for x in ladders)
        return _globally(ladders, lambda c: _units(ladders, c) <= most + 1e-9, at_most=True)
    target.check_patterns(x.group for x in ladders)
    result = {}
    for rungs in ladders:
        name, n = rungs.group.name, len(rungs.group)
        result[name] = rungs.chosen(rungs.steps_for(count(target.share_of(name), n)))
    return result


Costs = Callable[[Selection], int]


def by_cost(ladders: list[Ladder], target: Target, cost: Costs, remain: float, what: str) -> dict[str, tuple[int, ...]]:
    """The largest model whose cost is at most ``remain`` of the dense one's; ``what`` it is counted in.

    Raises:
        UnreachableTarget: no legal plan costs so little.
    """
    dense = cost({})
    goal = remain * dense

    def fits(counts: list[int]) -> bool:
        return cost(_selection(ladders, counts)) <= goal

    least = cost(_selection(ladders, [len(x) for x in ladders]))
    if least > goal:
        raise UnreachableTarget(
            f"asked for {remain:.3g} of the dense {what} ({goal:,.0f} of {dense:,}); with the groups allowed, the "
            f"least that a legal plan leaves is {least / dense:.3g} ({least:,}). Ask for more, allow more groups, or "
            "lower round_to."
        )
    if target.scope == "global":
        return _globally(ladders, fits, at_most=False)
    return _evenly(ladders, fits)


def _evenly(ladders: list[Ladder], fits: Callable[[list[int]], bool]) -> dict[str, tuple[int, ...]]:
    """Every group gives the same share, as little as fits; the last bit is given group by group, in their order."""

    def at(level: float) -> list[int]:
        return [x.steps_for(count(level, len(x.group))) for x in ladders]

    low, high = 0.0, 1.0
    if fits(at(low)):
        return _selection(ladders, at(low))
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(at(middle)) else (middle, high)
    before, after = at(low), at(high)
    first, last = 0, len(ladders)  # the shortest prefix of groups that must take the higher count
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if fits(after[:middle] + before[middle:]) else (middle + 1, last)
    return _selection(ladders, after[:first] + before[first:])


def _globally(ladders: list[Ladder], fits: Callable[[list[int]], bool], *, at_most: bool) -> dict[str, tuple[int, ...]]:
    """All groups' steps in one order (worth over the group's mean; ties by group, then step); a prefix of it goes."""
    rows: list[tuple[float, int, int]] = []
    for g, rungs in enumerate(ladders):
        rows += [(float(w) / (rungs.mean or 1.0), g, k) for k, w in enumerate(np.maximum.accumulate(rungs.worth))]
    rows.sort()

    def counts(length: int) -> list[int]:
        result = [0] * len(ladders)
        for _, g, _ in rows[:length]:
            result[g] += 1
        return result

    low, high = 0, len(rows)
    while low < high:
        if at_most:  # the longest prefix that still fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(counts(middle)) else (low, middle - 1)
        else:  # the shortest prefix that fits
            middle = (low + high) // 2
            low, high = (low, middle) if fits(counts(middle)) else (middle + 1, high)
    return _selection(ladders, counts(low))


def _units(ladders: list[Ladder], counts: list[int]) -> int:
    return sum(len(x.chosen(c)) for x, c in zip(ladders, counts, strict=True))


def _selection(ladders: list[Ladder], counts: list[int]) -> dict[str, tuple[int, ...]]:
    return {x.group.name: x.chosen(c) for x, c in zip(ladders, counts, strict=True)}


def _json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        fields: Any = json.loads(json.dumps(asdict(value), default=repr))  # lists, as a file gives them back
        return {"kind": type(value).__name__, **fields}
    return repr(value)
