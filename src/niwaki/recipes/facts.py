"""From what a run measured and recorded to the report's own records."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch
from torch import nn

from niwaki import __version__, measure
from niwaki.forecast import Forecast
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.measure.hardware import processor
from niwaki.measure.size import batch_size
from niwaki.methods import Method, Press
from niwaki.recipes.checks import plain
from niwaki.recipes.record import Row
from niwaki.recipes.schema import MethodChoice, Recipe
from niwaki.recipes.scored import ZEROS
from niwaki.recipes.standing import fingerprint
from niwaki.report import (
    Blocked,
    Entry,
    Foretold,
    GroupParting,
    Limit,
    Parting,
    PatternRound,
    Patterns,
    Phase,
    Point,
    Report,
    ReportError,
    Trace,
)
from niwaki.report.schema import ACCURACY
from niwaki.report.thin import evenly
from niwaki.surgery.certify import Certificate
from niwaki.surgery.cut import plan_of
from niwaki.units import Group, Plan

_MOST_POINTS, _MOST_IN_ALL = 90, 6_000  # of the lines of all groups: per group, and together
_TRACES = 4  # groups per method whose norms are shown: those that lose most
_MOST_ROUNDS, _MOST_PATTERNS = 60, 2_000  # of the figures of all matrices: rounds, and rounds times matrices
_MAPS, _FILMED, _FRAMES = 12, 3, 6  # matrices with a heat map at the end; of those some with one in several rounds


def dense_entry(
    model: nn.Module, inputs: Inputs, graph: Graph, accuracy: float | None, measured: str = ACCURACY
) -> Entry:
    """The entry of the dense network, without latencies. ``measured``: what the figure of accuracy is called."""
    widths = {group.name: len(group) for group in graph.groups}
    return Entry(
        "dense", f"Dense {type(model).__name__}", None, accuracy,
        _macs_each(model, inputs), measure.params(model), measure.file_bytes(model), (), widths,
        activation_bytes=measure.activations(model, inputs), peak_bytes=measure.peak_memory(model, inputs),
        weights=fingerprint(model), measure=measured,
    )  # fmt: skip


def pruned_entry(
    name: str, choice: MethodChoice, small: nn.Module, inputs: Inputs, graph: Graph, plan: Plan,
    certificate: Certificate, accuracy: float | None, seconds: Mapping[str, float], notes: Sequence[str],
    limited: Sequence[Limit] = (), measured: str = ACCURACY,
) -> Entry:  # fmt: skip
    """The entry of what a method made, without latencies."""
    return Entry(
        name, choice.label, {"name": choice.name, **plain(choice.settings)}, accuracy,
        _macs_each(small, inputs), measure.params(small), measure.file_bytes(small), (),
        {group.name: _left(group, plan) for group in graph.groups},
        certificate.to_json(), dict(seconds), tuple(notes),
        activation_bytes=measure.activations(small, inputs), peak_bytes=measure.peak_memory(small, inputs),
        limits=limited, measure=measured,
    )  # fmt: skip


def foretold(forecasts: Sequence[Forecast], model: nn.Module, inputs: Inputs) -> list[Foretold]:
    """What the forecasts said of a network: of the dense one what was measured then, and nothing of zeros."""
    plan = plan_of(model)
    if plan is not None and not plan.removed:
        return []
    return [
        Foretold(
            measure.RUNTIMES[one.place.runtime], one.place.threads, batch_size(inputs),
            one.dense_ms if plan is None else one.ms(plan),
        )
        for one in forecasts
    ]  # fmt: skip


def traces(entry: str, rows: Sequence[Row]) -> list[Trace]:
    """Norms under the growing penalty, of the groups that lose the most units."""
    chosen: dict[str, list[int]] = {}
    for row in rows:
        if row.get("event") == "choose":
            chosen = row.get("chosen", {})  # of single weights it tells how many
    pressed: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("event") == "press" and "norms" in row:
            pressed.setdefault(row["group"], []).append(row)
    biggest = sorted(pressed, key=lambda name: -len(chosen.get(name, ())))[:_TRACES]
    return [_trace(entry, name, pressed[name], chosen.get(name, [])) for name in biggest]


def partings(entry: str, rows: Sequence[Row], method: Method) -> list[Parting]:
    """How all groups parted, if the method pressed any; not as many points as there are rows."""
    pressed: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("event") == "press" and "spread" in row:
            pressed.setdefault(row["group"], []).append(row)
    if not pressed:
        return []
    most = max(2, min(_MOST_POINTS, _MOST_IN_ALL // len(pressed)))
    bars = {part.parted for part in method.body.walk() if isinstance(part, Press)}
    went = {name: far for row in rows if row.get("event") == "cut" for name, far in row.get("parted", {}).items()}
    groups = [_group_parting(name, _thinned(found, most), went.get(name)) for name, found in pressed.items()]
    return [Parting(entry, _phases(rows), groups, bars.pop() if len(bars) == 1 else None)]


def patterns(entry: str, rows: Sequence[Row]) -> list[Patterns]:
    """Where the surviving weights were in each round, if single weights were masked.

    Not as many rounds as there are rows, and heat maps only of as many matrices as a page shows: the same ones for
    every run of the same network, so that runs can be compared.

    Raises:
        ReportError: a row does not say what a pattern is; the message names its step and the place in it.
    """
    found = [row for row in rows if row.get("event") == "pattern"]
    if not found:
        return []
    names = list(_pattern_round(found[-1]).matrices)
    most = max(_FRAMES, min(_MOST_ROUNDS, _MOST_PATTERNS // len(names)))
    rounds = [_pattern_round(row) for row in evenly(found, most)]
    mapped = evenly(names, _MAPS)
    filmed, frames = evenly(mapped, _FILMED), evenly(range(len(rounds)), _FRAMES)
    shown = [mapped if one is rounds[-1] else filmed if i in frames else [] for i, one in enumerate(rounds)]
    return [Patterns(entry, [_bare_but_for(some, one) for some, one in zip(shown, rounds, strict=True)])]


def curve(entry: str, rows: Sequence[Row]) -> list[Point]:
    """Loss per epoch and phase, and the accuracy where it was taken; at the ends of rounds with the share of zeros."""
    shown = [row for row in rows if row.get("event") in ("epoch", "accuracy")]
    return [Point(entry, r["phase"], r["images"], r.get("loss"), r.get("accuracy"), r.get(ZEROS)) for r in shown]


def report(
    recipe: Recipe, title: str, command: str, entries: Sequence[Entry], told: Sequence[Trace], points: Sequence[Point],
    parted: Sequence[Parting] = (), patterned: Sequence[Patterns] = (), stopped: Sequence[Blocked] = (),
) -> Report:  # fmt: skip
    """The report of a run so far."""
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    settings = plain(recipe.to_json())
    environment = _environment(recipe)
    return Report(
        title, created, command, environment, settings, list(entries), list(told), list(points), list(parted),
        list(patterned), list(stopped),
    )  # fmt: skip


def _trace(entry: str, name: str, rows: Sequence[Row], chosen: Sequence[int]) -> Trace:
    # A second choice has other units: only the rows of the last one fit together.
    units = len(rows[-1]["norms"])
    rows = [row for row in rows if len(row["norms"]) == units]
    return Trace(
        entry, name, [r["step"] for r in rows], [float(r["penalty"]) for r in rows], [r["norms"] for r in rows],
        [u for u in chosen if u < units],
    )  # fmt: skip


def _phases(rows: Sequence[Row]) -> list[Phase]:
    """Where the phases of the method began, and the cut at the end."""
    begun = [Phase(r["phase"], r["step"]) for r in rows if r.get("event") == "phase"]
    return begun + [Phase("cut", r["step"]) for r in rows if r.get("event") == "cut"]


def _thinned(rows: Sequence[Row], most: int) -> list[Row]:
    """An even choice, and of either side of the pick: the short time before it is what tells the units apart."""
    before, after = ([r for r in rows if ("ratio" in r) is picked] for picked in (False, True))
    if not before or not after:
        return evenly(rows, most)
    return evenly(before, most - most // 2) + evenly(after, most // 2)


def _group_parting(name: str, rows: Sequence[Row], at_cut: float | None) -> GroupParting:
    return GroupParting(
        name, [r["step"] for r in rows], [float(r["penalty"]) for r in rows], [_five(r["spread"]) for r in rows],
        [_five(r["now"] if "now" in r else r["ratio"]) if "ratio" in r else None for r in rows],
        None if at_cut is None else _five(at_cut),
    )  # fmt: skip


def _pattern_round(row: Row) -> PatternRound:
    """A row of the record; what else it may hold is not looked at."""
    try:
        return PatternRound.from_json({key: row[key] for key in ("step", "sparsity", "matrices") if key in row})
    except ReportError as error:
        raise ReportError(f"the pattern recorded at step {row.get('step')!r}: {error}") from None


def _bare_but_for(names: Sequence[str], one: PatternRound) -> PatternRound:
    """The round with the heat maps of these matrices alone."""
    return replace(one, matrices={n: p if n in names else replace(p, blocks=()) for n, p in one.matrices.items()})


def _five(value: float) -> float:
    """Five digits are more than a line can show."""
    return float(f"{value:.5g}")


def _macs_each(model: nn.Module, inputs: Inputs) -> int:
    """Multiply-adds of one sample of the batch."""
    return measure.macs(model, inputs) // batch_size(inputs)


def _left(group: Group, plan: Plan) -> int:
    """How many units of a group a plan leaves."""
    if group.name in plan.choices:
        return plan.choices[group.name].kept
    axis = group.makers[0].axis
    entries = group.entries[axis]
    stays = ~np.isin(entries.positions, plan.removed.get(axis, ()))
    return len(np.unique(entries.units[stays]))


def _environment(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = {
        "niwaki": __version__, "torch": torch.__version__, "python": platform.python_version(),
        "system": platform.system(), "machine": platform.machine(), "processor": processor(), "cores": os.cpu_count(),
        "training threads": torch.get_num_threads(), "seed": recipe.seed,
    }  # fmt: skip
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})
