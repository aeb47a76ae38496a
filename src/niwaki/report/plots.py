"""One function per figure; each returns one SVG element, or "" where the report has nothing to draw.

All figures are 330 points wide: a phone shows them one to one, wider screens and paper larger. Every method
has one colour, the same in all of them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from . import compare, phrase
from .canvas import WIDTH, bar, calm, colour, drawing, ink, sheet, short_ticks, svg
from .inside import norms, widths
from .parting import ratios, spreads
from .schema import Entry, Point, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "curve",
    "norms",
    "ratios",
    "speedups",
    "spreads",
    "widths",
]


def _colour_of(report: Report, entry: Entry) -> str:
    if entry is report.dense:
        return "ink"
    return colour([other.name for other in compare.pruned(report)].index(entry.name))


def speedups(report: Report) -> str:
    """Promise and fact: the speed-up that the MACs promise (pale) above what each runtime measured."""
    found = [(entry, _gains(report, entry)) for entry in compare.pruned(report)]
    found = [(entry, gains) for entry, gains in found if len(gains) > 1]
    if not found:
        return ""
    longest = max(ratio for _, gains in found for _, ratio in gains)
    scale = (WIDTH - 142) / max(longest, 1.0)
    with drawing():
        figure, axes = sheet(sum(24 + 14.0 * len(gains) for _, gains in found) + 14)
        top = 0.0
        for entry, gains in found:
            axes.text(0, top + 9, phrase.clip(entry.label, 52), size=10, va="center")
            for i, (name, ratio) in enumerate(gains):
                shade = "pale" if i == 0 else _colour_of(report, entry)
                bar(axes, top + 18 + 14 * i, 10, scale * ratio, shade)
                said = f"{phrase.times(ratio)} {phrase.clip(name, 18)}"
                axes.text(scale * ratio + 5, top + 23 + 14 * i, said, size=9.5, va="center", color=ink("soft"))
            bars = [top + 16, top + 16 + 14.0 * len(gains)]
            axes.plot([scale, scale], bars, color=ink("ink"), linewidth=0.7, linestyle=(0, (2, 2)))
            top += 24 + 14.0 * len(gains)
        axes.text(scale, top + 4, "as fast as dense", size=9.5, va="center", ha="center", color=ink("soft"))
        return svg(figure, "Speed-up that the MACs promise, and the one measured")


def _gains(report: Report, entry: Entry) -> list[tuple[str, float]]:
    left = compare.share(report, entry, "macs")
    measured = [(name, compare.speedup(report, entry, key)) for key, name in compare.runtimes(report).items()]
    return [
        ("promised by MACs", 1 / left if left else 1.0),
        *((n, s.ratio) for n, s in measured if s is not None),
    ]


def curve(report: Report) -> str:
    """Loss and accuracy (or what was measured) over the images seen; a ring marks where a new phase begins."""
    kinds = [(name, _lines(report, name)) for name in ("accuracy", "loss")]
    kinds = [(name, known) for name, known in kinds if known]
    if not kinds:
        return ""
    told = {"loss": "loss", "accuracy": compare.measure(report.entries)}
    with drawing():
        figure, axes = calm(30 + 150 * len(kinds), len(kinds), sharex=True)
        for panel, (name, known) in zip(axes, kinds, strict=True):
            for entry in report.entries:
                _curve_line(panel, [p for p in known if p.entry == entry.name], name, _colour_of(report, entry))
            panel.set_ylabel(phrase.clip(told[name], 24) + (", %" if name == "accuracy" else ""))
        axes[-1].set_xlabel("images seen")
        short_ticks(axes[-1])
        return svg(figure, "Training curve: " + " and ".join(told[name] for name, _ in kinds))


def _lines(report: Report, name: str) -> list[Point]:
    """The points where something is known, of entries that have two or more: one alone is no line."""
    known = [point for point in report.curve if getattr(point, name) is not None]
    counts = Counter(point.entry for point in known)
    return [point for point in known if counts[point.entry] > 1]


def _curve_line(axes: Axes, points: list[Point], name: str, shade: str) -> None:
    points = sorted(points, key=lambda point: point.images)
    scale = 100 if name == "accuracy" else 1
    line = [(point.images, scale * getattr(point, name)) for point in points]
    axes.plot([x for x, _ in line], [y for _, y in line], color=ink(shade), linewidth=1.4)
    starts = [i for i, point in enumerate(points) if i and point.phase != points[i - 1].phase]
    ring: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 5, "markerfacecolor": ink("card")}
    axes.plot([line[i][0] for i in starts], [line[i][1] for i in starts], markeredgecolor=ink(shade), **ring)
