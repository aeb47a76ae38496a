"""Figures of the network's inside: how wide each group is, and how the norms of its units part."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import compare, phrase
from .canvas import WIDTH, bar, calm, colour, drawing, ink, sheet, short_ticks, svg
from .schema import Parting, Report, Trace
from .stages import key_above, name_stages
from .thin import evenly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["norms", "widths"]

_MOST_LINES, _MOST_STEPS = 64, 90
_LINE = 58  # characters across a figure at the size of row names
_FLOOR = 1e-4  # of the largest norm: what is smaller is drawn there, for a logarithm has no zero


def widths(report: Report, groups: Sequence[str] | None = None) -> str:
    """Units per group before and after: the dense width pale and full length, each method's width on it.

    `groups` are names to draw, in order (default: all of the dense entry's). Every row has its own scale, the
    dense width, so that a layer of 16 reads as well as one of 2048; the counts stand beside it.
    """
    dense = report.dense
    others = [(i, e) for i, e in enumerate(compare.pruned(report)) if e.widths]
    names = list(dense.widths if groups is None else groups) if dense else []
    if dense is None or not others or not names:
        return ""
    rows = [_WidthRow(name, dense.widths[name], [(i, e.widths.get(name)) for i, e in others]) for name in names]
    with drawing():
        figure, axes = sheet(sum(row.height for row in rows))
        top = 0.0
        for row in rows:
            row.draw(axes, top)
            top += row.height
        return svg(figure, f"Units per group before and after, {names[0]} to {names[-1]}")


@dataclass(frozen=True)
class _WidthRow:
    """A name, wrapped because layers often differ only in the middle, its counts, and bars below."""

    name: str
    before: int
    after: list[tuple[int, int | None]]

    @property
    def counts(self) -> str:
        return f"{self.before} → {' · '.join('?' if width is None else str(width) for _, width in self.after)}"

    @property
    def lines(self) -> list[str]:
        beside = len(self.counts) <= 28
        wide = _LINE - len(self.counts) - 2 if beside else _LINE
        return textwrap.wrap(phrase.clip(self.name, 3 * wide), wide) + [""] * (not beside)

    @property
    def height(self) -> float:
        return 8 + 12.0 * len(self.lines) + 6.5 * len(self.after)

    def draw(self, axes: Axes, top: float) -> None:
        for i, line in enumerate(self.lines):
            axes.text(0, top + 9 + 12 * i, line, size=9.5, va="center")
        base = top + 3 + 12 * len(self.lines)
        line_of_counts = base - 6 if self.lines[-1] == "" else top + 9
        axes.text(WIDTH, line_of_counts, self.counts, size=9.5, va="center", ha="right", color=ink("soft"))
        bar(axes, base, 6.5 * len(self.after) - 1, WIDTH, "pale")
        for i, (position, width) in enumerate(self.after):
            if width is not None and self.before:
                bar(axes, base + 6.5 * i, 5.5, WIDTH * min(width / self.before, 1), colour(position))


def norms(trace: Trace, parting: Parting | None = None) -> str:
    """The norm of each unit over the steps on a logarithmic scale, and the penalty that grows below.

    Norms under a ten-thousandth of the largest are drawn on that floor. Of more than 64 units and 90 steps an
    even choice is drawn. `parting`, of the same entry, marks the phases of its method.
    """
    top = max((norm for row in trace.norms for norm in row), default=0.0)
    if not trace.steps or top <= 0:
        return ""
    stages = parting.stages if parting is not None else []
    with drawing():
        figure, (upper, lower) = calm(284 if stages else 270, 2, sharex=True, height_ratios=[3.4, 1])
        _norm_lines(upper, trace, top * _FLOOR)
        _log_axis(upper, top)
        upper.set_ylabel("norm of a unit")
        _parting_key(upper, trace, bool(stages))
        lower.plot(*_penalty_line(trace, parting), color=ink("ochre"), linewidth=1.4, clip_on=False)
        lower.set(ylabel="penalty", xlabel="step")
        lower.set_ylim(bottom=0)
        lower.locator_params(axis="y", nbins=2)
        figure.align_ylabels()
        short_ticks(lower)
        if parting is not None and stages:
            upper.set_xlim(right=max(parting.end, trace.steps[-1]))
            name_stages([upper, lower], stages)
        return svg(figure, f"Norms of {trace.group} in {trace.entry} while the penalty grows")


def _penalty_line(trace: Trace, parting: Parting | None) -> tuple[list[int], list[float]]:
    """Steps and penalty; through a phase that holds it, of which no rows are recorded, to the end."""
    steps, penalty = list(trace.steps), list(trace.penalty)
    if parting is not None and parting.stages and parting.stages[-1][0] == "hold" and parting.end > steps[-1]:
        return [*steps, parting.end], [*penalty, penalty[-1]]
    return steps, penalty


def _norm_lines(axes: Axes, trace: Trace, floor: float) -> None:
    steps = evenly(range(len(trace.steps)), _MOST_STEPS)
    for unit, chosen in _shown_units(trace):
        line = [max(trace.norms[i][unit], floor) for i in steps]
        name, order = ("clay", 3) if chosen else ("pine", 2)
        axes.plot([trace.steps[i] for i in steps], line, color=ink(name), alpha=0.6, linewidth=0.9, zorder=order)


def _shown_units(trace: Trace) -> list[tuple[int, bool]]:
    """(unit, is it chosen): both sorts thinned alike, evenly over the order of their last norms."""
    last, chosen = trace.norms[-1], set(trace.chosen)
    order = sorted(range(len(last)), key=lambda unit: (unit in chosen, last[unit]))
    return [(unit, unit in chosen) for unit in evenly(order, _MOST_LINES)]


def _log_axis(axes: Axes, top: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    floor = top * _FLOOR
    powers = [10.0**p for p in range(math.ceil(math.log10(floor) + 0.35), math.floor(math.log10(top)) + 1)]
    axes.set_yscale("log")
    axes.set_ylim(floor * 0.8, top * 1.4)
    axes.yaxis.set_major_locator(FixedLocator([floor, *powers]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "≈ 0" if value == floor else f"{value:g}"))
    axes.yaxis.set_minor_locator(FixedLocator([]))


def _parting_key(axes: Axes, trace: Trace, stages: bool) -> None:
    out = len(set(trace.chosen))
    key_above(axes, [(["pine"], f"{len(trace.norms[0]) - out} kept"), (["clay"], f"{out} pushed out")], 2, stages)
