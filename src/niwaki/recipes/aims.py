"""A target of latency is shown without being asked for: its goal, what was forecast for it, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from niwaki.measure import RUNTIMES
from niwaki.methods import Method
from niwaki.recipes.limits import target_of
from niwaki.recipes.schema import Measure
from niwaki.report import Entry, Foretold
from niwaki.report import Latency as Measured
from niwaki.targets import Latency

_GOAL = "Goal: "
Setting = tuple[str, int, int]


def aim_of(method: Method) -> Latency | None:
    """The target of latency that a method has, if it has one."""
    target = target_of(method)
    return target if isinstance(target, Latency) else None


def timed(measure: Measure, methods: Sequence[Method], batch: int) -> Measure:
    """Where to measure: where the recipe asks for it, and where a target of latency is to be met. ``batch``: of the
    recipe's inputs; targets of another one, or of other threads, are met elsewhere."""
    return replace(measure, runtimes=tuple(dict.fromkeys([*measure.runtimes, *_met_here(measure, methods, batch)])))


def forecast(measure: Measure, methods: Sequence[Method], batch: int) -> Measure:
    """Where to forecast: everywhere if the recipe asks for it, or else where a target of latency is to be met."""
    return measure if measure.forecast else replace(measure, runtimes=tuple(_met_here(measure, methods, batch)))


def _met_here(measure: Measure, methods: Sequence[Method], batch: int) -> list[str]:
    aims = [aim for aim in map(aim_of, methods) if aim is not None]
    here = [aim.runtime for aim in aims if (aim.threads, aim.batch or batch) == (measure.threads, batch)]
    return list(dict.fromkeys(here))


def with_aim(entry: Entry, dense: Entry, aim: Latency | None, batch: int) -> Entry:
    """The entry with a note of the goal, and how near the network came to it by forecast and as measured."""
    if aim is None:
        return entry
    setting = (RUNTIMES[aim.runtime], aim.threads, aim.batch or batch)
    ahead = _share(entry.forecast, dense.forecast, setting)
    after = _share(entry.latency, dense.latency, setting)
    said = f"Forecast: {ahead}. Measured: {after}."
    if ahead == after == _NOT:
        said = "It was not measured in this run, whose inputs or section measure have another batch or other threads."
    goal = (
        f"{_GOAL}{aim.remain:.1%} of the dense network's time in {setting[0]} ({setting[1]} "
        f"thread{'s' * (setting[1] > 1)}, batch {setting[2]}). {said}"
    )
    return replace(entry, notes=(*(note for note in entry.notes if not note.startswith(_GOAL)), goal))


_NOT = "not made"


def _share(after: Sequence[Foretold | Measured], before: Sequence[Foretold | Measured], setting: Setting) -> str:
    times = [next((_ms(one) for one in found if one.setting == setting), None) for found in (after, before)]
    small, dense = times
    return _NOT if small is None or not dense else f"{small / dense:.1%}"


def _ms(one: Foretold | Measured) -> float:
    return one.ms if isinstance(one, Foretold) else one.median_ms


__all__ = ["aim_of", "forecast", "timed", "with_aim"]
