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
from .sparsity import place_of, sparsity_axis
from .stages import key_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "curve",
    "norms",
    "ratios",
    "scores",
    "speedups",
    "spreads",
    "widths",
]

_LEAST_LEFT = 1e-6  # of a network of zeros alone nothing is left, which has no place on a logarithmic axis


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


def scores(report: Report) -> str:
    """Accuracy (or what was measured) at the end of each round, over the share of zeros: a line per method."""
    found = [(entry, _scored(report, entry)) for entry in compare.pruned(report)]
    found = [(entry, line) for entry, line in found if len(line) > 1]
    if not found:
        return ""
    what = compare.measure(report.entries)
    with drawing():
        figure, (axes,) = calm(175 + 15 * len(found))
        for entry, line in found:
            places, heights = [_zeros_place(zeros) for zeros, _ in line], [100 * accuracy for _, accuracy in line]
            shade = ink(_colour_of(report, entry))
            axes.plot(places, heights, color=shade, linewidth=1.4, marker="o", markersize=3.5, clip_on=False)
        axes.set_ylabel(f"{phrase.clip(what, 24)}, %")
        sparsity_axis(axes, {_zeros_place(zeros): zeros for _, line in found for zeros, _ in line})
        key_above(axes, [([_colour_of(report, entry)], phrase.clip(entry.label, 46)) for entry, _ in found], 1, False)
        return svg(figure, f"{what} over the share of zeros, round by round")


def _scored(report: Report, entry: Entry) -> list[tuple[float, float]]:
    """(share of zeros, accuracy) at the ends of its rounds, in their order."""
    points = sorted((point for point in report.curve if point.entry == entry.name), key=lambda point: point.images)
    return [(p.zeros, p.accuracy) for p in points if p.zeros is not None and p.accuracy is not None]


def _zeros_place(zeros: float) -> float:
    return place_of(max(1 - zeros, _LEAST_LEFT))
