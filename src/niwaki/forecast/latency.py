"""Choose units for a target of measured latency: forecast, solve, cut, time, correct."""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from niwaki.errors import BadInput, CannotFollow, UnreachableTarget
from niwaki.forecast.forecast import Forecast, profile
from niwaki.forecast.hardware import Place
from niwaki.forecast.levels import Levels
from niwaki.forecast.solver import solve
from niwaki.graph import Graph
from niwaki.graph.caches import forgetting
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments
from niwaki.measure import RUNTIMES, latency
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import make_plan, not_empty
from niwaki.surgery.ladders import Ladder
from niwaki.targets import Latency
from niwaki.tracing import trace
from niwaki.wrappers import unwrapped

logger = logging.getLogger("niwaki")

ROUNDS = 5
"""So often at most a plan is cut and timed."""
NEAR = 0.03
"""A plan that misses the goal by no more than this share of it is taken."""
_SLACK = 0.08
"""One that is quicker than the goal by more than this could have kept more."""
_STEP = 0.95
_FAR = 0.1
"""Plans that all miss it by more than this share of it miss it altogether."""
_EVEN = 10
_LOOKS = 6
"""So often at most the solver's costs are taken anew around what it found."""
_RUNS, _SECONDS = 20, 20.0
"""A plan and the dense network are timed so often, or as often as that takes."""


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
    """The units that go, by group: of all plans that are quick enough the one that keeps most. The same question about
    the same graph has the same answer, without being timed again.

    Raises:
        UnreachableTarget: no legal plan is. CannotFollow: in several processes, each of which would measure otherwise.
    """
    _alone()
    if not any(map(len, ladders)):
        raise UnreachableTarget(
            f"asked for {target.remain:.3g} of the dense latency, and no group may be pruned. Allow more groups, or "
            "lower round_to."
        )
    known: dict[Any, Any] = graph.__dict__.setdefault("_latency", {})  # goes when the graph goes
    key = (target, *((r.group.name, r.order.tobytes(), r.ends.tobytes(), r.worth.tobytes(), r.mean) for r in ladders))
    if key not in known:
        known[key] = _decided(known, graph, ladders, target)
    return dict(known[key])


def _decided(
    known: dict[Any, Any], graph: Graph, ladders: Sequence[Ladder], target: Latency
) -> dict[str, tuple[int, ...]]:
    levels = Levels(_forecast(known, graph, ladders, target), ladders)
    tries = _tries(levels, target)
    best = _best(tries, target.remain)
    if best.measured > target.remain * (1 + _FAR):
        raise UnreachableTarget(
            f"asked for {target.remain:.3g} of the dense latency in {RUNTIMES[target.runtime]}; of {len(tries)} plans "
            f"that were timed the quickest takes {best.measured:.3g}. Ask for more, allow more groups, or lower "
            "round_to."
        )
    if best.measured > target.remain * (1 + NEAR):
        logger.warning("asked for %.3g of the dense latency; the plan takes %.3g", target.remain, best.measured)
    return levels.selection(best.chosen)


def _tries(levels: Levels, target: Latency) -> list[Try]:
    """Plans, each cut and timed: the forecast's budget is corrected by what was measured, until the goal is met. Where
    nothing is quick enough by the forecast, the deepest cut is timed."""
    aim, found, seen = target.remain, dict[tuple[int, ...], Try](), list[tuple[float, float]]()
    for _ in range(3 * ROUNDS):
        chosen = _solved(levels, aim * levels.forecast.dense_ms)
        if chosen is None:
            deepest = tuple(len(steps) - 1 for steps in levels.steps)
            found.setdefault(deepest, _try(levels, deepest))
            break
        if chosen in found:  # no other plan lies between
            if found[chosen].measured <= target.remain:
                break
            aim *= _STEP
            continue
        if len(found) == ROUNDS:
            break
        this = found[chosen] = _try(levels, chosen)
        logger.info("latency by forecast and as measured %s; the goal: %.3f", this.told, target.remain)
        if target.remain * (1 - _SLACK) <= this.measured <= target.remain * (1 + NEAR):
            break
        seen.append((aim, this.measured))
        aim = corrected(target.remain, seen)
    return list(found.values())


def corrected(goal: float, seen: Sequence[tuple[float, float]]) -> float:
    """The share of the dense time to aim at next, by the forecast, so that ``goal`` is measured.

    Args:
        seen: shares that were aimed at and what was measured then, in order. Between one that was too slow and one that
            was quick enough the next is on the line through both; before there are such, in proportion to the last.
    """
    slow = min((one for one in seen if one[1] > goal), default=None)
    quick = max((one for one in seen if one[1] <= goal), default=None)
    if slow is not None and quick is not None and quick[0] < slow[0]:
        return quick[0] + (slow[0] - quick[0]) * (goal - quick[1]) / (slow[1] - quick[1])
    aim, measured = seen[-1]
    return aim * goal / measured


def _solved(levels: Levels, budget: float) -> tuple[int, ...] | None:
    """The levels of most worth that the forecast holds to cost no more; None if there are none. Costs that three groups
    decide are lines around one plan: solved again around what was found, until that stays as it is."""
    around, best = _halfway(levels, budget), None
    if levels.forecast.ms(levels.selection(around)) <= budget:
        best = tuple(around)
    for _ in range(_LOOKS):
        found = solve(levels.worth, levels.costs(around), budget)
        if found is None:
            break
        quick = levels.forecast.ms(levels.selection(found)) <= budget * (1 + NEAR / 2)
        if quick and (best is None or levels.worth_of(found) > levels.worth_of(best)):
            best = tuple(found)
        if found == around:
            break
        around = found
    return best


def _halfway(levels: Levels, budget: float) -> list[int]:
    """The first even levels whose network is quick enough: somewhere near the solution."""
    for step in range(1, _EVEN + 1):
        chosen = [round((len(steps) - 1) * step / _EVEN) for steps in levels.steps]
        if levels.forecast.ms(levels.selection(chosen)) <= budget:
            return chosen
    return [len(steps) - 1 for steps in levels.steps]


def _try(levels: Levels, chosen: Sequence[int]) -> Try:
    forecast = levels.forecast
    selection = not_empty(forecast.graph, list(levels.ladders), levels.selection(chosen))
    share = forecast.ms(selection) / forecast.dense_ms
    return Try(tuple(chosen), levels.worth_of(chosen), share, _measured(forecast, selection))


def _measured(forecast: Forecast, selection: dict[str, tuple[int, ...]]) -> float:
    """The share of the dense network's time that the cut one takes, both timed in turns."""
    graph, place = forecast.graph, forecast.place
    small = cut(graph.model, make_plan(graph, selection), config=False)
    with forgetting():
        models = {"dense": duplicate(unwrapped(graph.model, "what is timed")), "cut": small}
        found = latency(
            models, forecast.inputs, runtime=place.runtime, threads=place.threads, runs=_RUNS, seconds=_SECONDS
        )
    return found["cut"].median_ms / found["dense"].median_ms


def _best(tries: Sequence[Try], goal: float) -> Try:
    """Of those that are quick enough the one that keeps most; if none is, the quickest."""
    good = [t for t in tries if t.measured <= goal * (1 + NEAR)]
    return max(good, key=lambda t: t.worth) if good else min(tries, key=lambda t: t.measured)


def _forecast(known: dict[Any, Any], graph: Graph, ladders: Sequence[Ladder], target: Latency) -> Forecast:
    """A graph is profiled once for each place and choice of groups."""
    names = tuple(rungs.group.name for rungs in ladders)
    place = Place.of(graph.model, target.runtime, target.threads)
    key = (place, target.batch, names)
    if key not in known:
        inputs = batched(graph.observation.inputs, target.batch)
        own = graph if target.batch is None else trace(graph.model, inputs)
        if missing := sorted(set(names) - {g.name for g in own.groups}):
            raise BadInput(f"traced with batch {target.batch}, the model lacks the groups {', '.join(missing)}")
        only = [glob.escape(name) for name in names]  # a module may be called "conv[0]"
        known[key] = profile(graph.model, inputs, runtime=target.runtime, threads=target.threads, graph=own, only=only)
    return known[key]


def batched(inputs: Inputs, size: int | None) -> Any:
    """The same inputs, ``size`` of them: repeated in turns, or the first ones. The batch is the length that dimension 0
    of most tensors has (1 only if of more than any other); the other tensors stay as they are.

    Raises:
        BadInput: there is no tensor that has a batch, or no length that most have.
    """
    if size is None:
        return inputs
    args, kwargs = call_arguments(inputs)
    found = [t.shape[0] for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim() > 0]
    ones, lengths = found.count(1), Counter(n for n in found if n > 1)
    if ones > max(lengths.values(), default=0):  # or else what is one long may be for all
        lengths = Counter({1: ones})
    (before, count), *others = lengths.most_common() or [(0, 0)]
    if not count or (others and others[0][1] == count):
        raise BadInput(
            f"Latency(batch={size}) needs inputs of which most tensors have the batch as dimension 0, found lengths "
            f"{sorted(lengths)}. Trace with inputs of that batch, and leave batch out."
        )
    rows = torch.arange(size) % before

    def sized(value: Any) -> Any:
        has = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == before
        return value.index_select(0, rows.to(value.device)) if has else value

    given, named = tree_map(sized, (args, kwargs))
    return named or (given[0] if isinstance(inputs, Tensor) else given)


def _alone() -> None:
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    if together and torch.distributed.get_world_size() > 1:
        raise CannotFollow(
            "Latency measures, and each of several processes would measure otherwise and choose another plan. Make the "
            "plan in one process, save it, and give each process the file."
        )


__all__ = ["batched", "corrected", "decide"]
