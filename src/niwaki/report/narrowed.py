"""Widths and what limited each, and forecast times beside measured ones: cells of the tables that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from . import compare, phrase
from .limits import CAUSES, Limit
from .pareto import Network
from .schema import Report
from .table import Cell

__all__ = ["FORECAST", "causes", "forecast_error", "forecast_rows", "width_rows"]

FORECAST = (
    "network", "runtime", "time, forecast", "measured", "error", "speed-up, forecast", "measured", "error"
)  # fmt: skip
"""Headings of the forecast's table."""
_TIED = 3  # layers of one group that are named


def width_rows(report: Report) -> list[list[Cell]]:
    """A row for each group of the dense network: its name, then for each method its width and what limited that; none
    if nothing is known of limits."""
    methods = [entry for entry in compare.pruned(report) if entry.limits]
    if report.dense is None or not methods:
        return []
    told = [{limit.group: limit for limit in entry.limits} for entry in methods]
    return [
        [
            _group(name, [limits[name] for limits in told if name in limits]),
            *(_width(size, e.widths.get(name), limits.get(name)) for e, limits in zip(methods, told, strict=True)),
        ]
        for name, size in report.dense.widths.items()
    ]


def causes(limits: Sequence[Limit]) -> str:
    """ "target's share: 5, rounding: 2", the most frequent first."""
    found = Counter(limit.cause for limit in limits)
    return ", ".join(f"{CAUSES[cause]}: {count}" for cause, count in found.most_common())


def _group(name: str, limits: Sequence[Limit]) -> Cell:
    tied = limits[0].tied if limits else ()
    if not tied:
        return Cell(name)
    rest = [f"{len(tied) - _TIED} more"] * (len(tied) > _TIED)
    return Cell(name, f"tied: {phrase.listing([*tied[:_TIED], *rest])}")


def _width(before: int, after: int | None, limit: Limit | None) -> Cell:
    said = CAUSES[limit.cause] if limit is not None else CAUSES["unknown"]
    return Cell(f"{before} → {'?' if after is None else after}", said, "", limit.detail if limit is not None else "")


def forecast_rows(networks: Sequence[Network]) -> list[tuple[Network, list[Cell]]]:
    """Of every network and setting that was forecast: the time and the speed-up, as forecast and as measured."""
    names = compare.runtimes(*(one.report for one in networks))
    return [
        (one, [Cell(one.entry.label), Cell(names.get(told.setting, told.runtime)), *_times(one, told.setting, told.ms)])
        for one in networks
        for told in one.entry.forecast
    ]


def forecast_error(networks: Sequence[Network]) -> str:
    """How far off the forecast speed-ups are, in a sentence; "" if none can be compared."""
    pairs = [_speedups(one, told.setting, told.ms) for one in networks for told in one.entry.forecast]
    errors = [abs(ahead / after - 1) for ahead, after in pairs if ahead is not None and after is not None]
    if not errors:
        return ""
    worst = f", at worst {phrase.percent(max(errors))}" if len(errors) > 1 else ""
    return f"The forecast speed-ups are off by {phrase.percent(median(errors))}{' in the middle' * bool(worst)}{worst}."


def _times(one: Network, setting: compare.Setting, ahead: float) -> list[Cell]:
    after = compare.latency(one.entry, setting)
    fast, faster = _speedups(one, setting, ahead)
    return [
        Cell(phrase.milliseconds(ahead)),
        Cell("—" if after is None else phrase.milliseconds(after)),
        _off(ahead, after),
        *(Cell("—" if found is None else phrase.times(found)) for found in (fast, faster)),
        _off(fast, faster),
    ]


def _off(ahead: float | None, after: float | None) -> Cell:
    return Cell("—") if ahead is None or not after else Cell(f"{phrase.change(100 * (ahead / after - 1))}%")


def _speedups(one: Network, setting: compare.Setting, ahead: float) -> tuple[float | None, float | None]:
    """As forecast and as measured, each over the dense network's time of its own session."""
    dense = one.report.dense
    if dense is None or one.dense:
        return None, None
    before = next((told.ms for told in dense.forecast if told.setting == setting), None)
    measured = compare.speedup(one.report, one.entry, setting)
    return (before / ahead if before else None), (measured.ratio if measured is not None else None)
