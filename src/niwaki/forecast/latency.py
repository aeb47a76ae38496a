"""Choose units for a target of measured latency: forecast, solve, cut, time, correct."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from niwaki.errors import BadInput, CannotFollow, UnreachableTarget
from niwaki.forecast.forecast import Forecast, profile
from niwaki.forecast.levels import Costs, Levels
from niwaki.forecast.solver import solve
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.measure import latency
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import make_plan, not_empty
from niwaki.surgery.ladders import Ladder
from niwaki.targets import Latency
from niwaki.tracing import trace

logger = logging.getLogger("niwaki")

ROUNDS = 4
"""So often at most a plan is cut and timed."""
NEAR = 0.03
"""A plan that misses the goal by no more than this share of it is taken."""
_SLACK = 0.08
"""One that is quicker than the goal by more than this could have kept more."""
_STEP = 0.95
_RUNS = 20

_KNOWN: WeakKeyDictionary[Graph, dict[tuple[str, int, int | None], Forecast]] = WeakKeyDictionary()
"""A graph is profiled once for each place."""


@dataclass(frozen=True)
class Try:
    """A choice of levels, with its share of the dense network's time as forecast and as measured."""

    chosen: tuple[int, ...]
    worth: float
    forecast: float
    measured: float

    @property
    def told(self) -> str:
        return f"{self.forecast:.3f}, {self.measured:.3f}"


def decide(graph: Graph, ladders: Sequence[Ladder], target: Latency) -> dict[str, tuple[int, ...]]:
    """The units that go, by group: of all plans that are quick enough the one that keeps most.

    Raises:
        UnreachableTarget: no legal plan is. CannotFollow: in several processes, each of which would measure otherwise.
    """
    _alone()
    levels = Levels(_forecast(graph, ladders, target), ladders)
    best = _best(_tries(levels, target), target.remain)
    return levels.selection(best.chosen)


def _tries(levels: Levels, target: Latency) -> list[Try]:
    """Plans, each cut and timed: the forecast's budget is corrected by what was measured, until the goal is met."""
    aim, costs, found = target.remain, levels.costs(), dict[tuple[int, ...], Try]()
    for _ in range(3 * ROUNDS):
        chosen = solve(levels.worth, costs, aim * levels.forecast.dense_ms)
        if chosen is None:
            break
        if tuple(chosen) in found:  # no other plan lies between
            if found[tuple(chosen)].measured <= target.remain:
                break
            aim *= _STEP
            continue
        if len(found) == ROUNDS:
            break
        this = found[tuple(chosen)] = _try(levels, chosen)
        logger.info("latency by forecast and as measured %s; the goal: %.3f", this.told, target.remain)
        if target.remain * (1 - _SLACK) <= this.measured <= target.remain * (1 + NEAR):
            break
        aim *= target.remain / this.measured
    if not found:
        raise UnreachableTarget(
            f"asked for {target.remain:.3g} of the dense latency; with the groups allowed, the least that a legal plan "
            f"leaves is about {_least(levels, costs):.3g}, as forecast for {target.runtime}. Ask for more, or allow "
            "more groups."
        )
    return list(found.values())


def _least(levels: Levels, costs: Costs) -> float:
    """The share of the dense network's time that the deepest cut leaves."""
    return costs.of([len(steps) - 1 for steps in levels.steps]) / levels.forecast.dense_ms


def _try(levels: Levels, chosen: Sequence[int]) -> Try:
    forecast = levels.forecast
    selection = not_empty(forecast.graph, list(levels.ladders), levels.selection(chosen))
    worth = sum(float(row[k]) for row, k in zip(levels.worth, chosen, strict=True))
    share = forecast.ms(selection) / forecast.dense_ms
    return Try(tuple(chosen), worth, share, _measured(forecast, selection))


def _measured(forecast: Forecast, selection: dict[str, tuple[int, ...]]) -> float:
    """The share of the dense network's time that the cut one takes, both timed in turns."""
    graph, place = forecast.graph, forecast.place
    small = cut(graph.model, make_plan(graph, selection), config=False)
    models = {"dense": graph.model, "cut": small}
    inputs = graph.observation.inputs
    found = latency(models, inputs, runtime=place.runtime, threads=place.threads, runs=_RUNS)
    return found["cut"].median_ms / found["dense"].median_ms


def _best(tries: Sequence[Try], goal: float) -> Try:
    """Of those that are quick enough the one that keeps most; if none is, the quickest."""
    good = [t for t in tries if t.measured <= goal * (1 + NEAR)]
    return max(good, key=lambda t: t.worth) if good else min(tries, key=lambda t: t.measured)


def _forecast(graph: Graph, ladders: Sequence[Ladder], target: Latency) -> Forecast:
    known = _KNOWN.setdefault(graph, {})
    key = (target.runtime, target.threads, target.batch)
    if key not in known:
        inputs = batched(graph.observation.inputs, target.batch)
        names = [rungs.group.name for rungs in ladders]
        own = graph if target.batch is None else trace(graph.model, inputs)
        if missing := set(names) - {g.name for g in own.groups}:
            raise BadInput(f"at batch {target.batch} other groups are found; trace with that batch. {sorted(missing)}")
        known[key] = profile(graph.model, inputs, runtime=target.runtime, threads=target.threads, graph=own, only=names)
    return known[key]


def batched(inputs: Inputs, size: int | None) -> Any:
    """The same inputs, ``size`` of them: repeated in turns, or the first ones.

    Raises:
        BadInput: there is no tensor that has a batch.
    """
    if size is None:
        return inputs
    tensors = [t for t in tree_leaves(inputs) if isinstance(t, Tensor) and t.dim() > 0]
    if not tensors:
        raise BadInput("Latency(batch=…) needs inputs that have tensors with a batch")
    before = tensors[0].shape[0]
    rows = torch.arange(size) % before

    def sized(value: Any) -> Any:
        has = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == before
        return value.index_select(0, rows.to(value.device)) if has else value

    return tree_map(sized, inputs)


def _alone() -> None:
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    if together and torch.distributed.get_world_size() > 1:
        raise CannotFollow(
            "Latency measures, and each of several processes would measure otherwise and choose another plan. Make the "
            "plan in one process, save it, and give each process the file."
        )


__all__ = ["batched", "decide"]
