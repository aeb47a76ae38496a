"""Accuracy against cost, of one run or of several: every network a point, and the front that no network beats.

A point says what it is when it is pointed at, tapped or reached by the keyboard: its words lie in the figure and are
shown by the page's style alone, without a script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import compare, phrase
from .canvas import calm, colour, drawing, ink, svg
from .labels import place_labels
from .schema import ACCURACY, Entry, Report
from .seeds import spread
from .tips import Tip, place_of, with_tips

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SHAPES", "Network", "Scale", "front", "networks_of", "picture", "scales"]

SHAPES = ("round", "square", "diamond", "triangle", "drop", "cross")
"""The forms of points, one for each run; more runs begin again."""
_MARKERS = dict(zip(SHAPES, ("o", "s", "D", "^", "v", "X"), strict=True))
_NAMED = 9  # networks whose names are written beside them; of more, only those on the front


@dataclass(frozen=True)
class Network:
    """An entry of a run, as it is drawn and named beside those of other runs. ``seeds``: those of which it is the
    mean."""

    run: str
    report: Report
    entry: Entry
    colour: str
    shape: str
    label: str
    seeds: tuple[Entry, ...] = ()

    @property
    def dense(self) -> bool:
        return self.entry is self.report.dense


def networks_of(reports: Mapping[str, Report]) -> list[Network]:
    """All entries of all runs, in order. Every pruned one has a colour of its own, every run a shape."""
    found: list[Network] = []
    several, count = len(reports) > 1, 0
    labels = [entry.label for report in reports.values() for entry in report.entries]
    for i, (run, report) in enumerate(reports.items()):
        for entry in report.entries:
            twice = several and labels.count(entry.label) > 1
            shade = "ink" if entry is report.dense else colour(count)
            count += entry is not report.dense
            label = f"{entry.label} ({run})" if twice else entry.label
            found.append(Network(run, report, entry, shade, SHAPES[i % len(SHAPES)], label))
    return found


@dataclass(frozen=True)
class Scale:
    """A cost: its name, how to read it off an entry (None: not measured), and how to write it. ``setting``: if it is
    latency, where."""

    name: str
    axis: str
    cost: Callable[[Entry], float | None]
    written: Callable[[float], str]
    setting: compare.Setting | None = None


def scales(*reports: Report) -> list[Scale]:
    """Latency in every setting, multiply-adds, size on disk."""
    full = compare.in_full(*reports)
    times = [_in_time(setting, name, full[setting]) for setting, name in compare.runtimes(*reports).items()]
    return [
        *times,
        Scale("MACs", "MACs per sample", lambda entry: entry.macs, lambda value: phrase.count(round(value))),
        Scale("file size", "file size", lambda entry: entry.file_bytes, lambda value: phrase.bytes_(round(value))),
    ]


def _in_time(setting: compare.Setting, name: str, full: str) -> Scale:
    axis = f"ms per forward pass in {full}"
    return Scale(name, axis, lambda entry: compare.latency(entry, setting), phrase.milliseconds, setting)


def known(networks: Sequence[Network], scale: Scale) -> list[tuple[Network, float, float]]:
    """(network, cost, accuracy in percent) where both are known."""
    costs = [(network, scale.cost(network.entry)) for network in networks]
    return [(n, cost, 100 * n.entry.accuracy) for n, cost in costs if cost is not None and n.entry.accuracy is not None]


def front(networks: Sequence[Network], scale: Scale) -> list[Network]:
    """Those that no other beats: none is both as cheap and as accurate, and better in one of the two. By cost."""
    points = known(networks, scale)
    best = [
        (cost, one)
        for one, cost, right in points
        if not any(c <= cost and r >= right and (c < cost or r > right) for _, c, r in points)
    ]
    return [one for _, one in sorted(best, key=lambda pair: pair[0])]


def picture(networks: Sequence[Network], scale: Scale) -> str:
    """Accuracy (or what was measured) in percent against a cost, with the front as a line of steps; "" for fewer than
    two points."""
    points = known(networks, scale)
    if len(points) < 2:
        return ""
    ahead = front(networks, scale)
    measure = compare.measure(one.entry for one, _, _ in points)
    with drawing():
        figure, (axes,) = calm(250)
        _frame(axes, scale, points)
        _draw_front(axes, [(cost, right) for one in ahead for n, cost, right in points if n is one])
        for one, cost, right in points:
            _draw_point(axes, one, scale, cost, right)
        _name(axes, points, ahead)
        tips = [Tip(*place_of(axes, x, y), tuple(_told(one, scale, x, one in ahead))) for one, x, y in points]
        title = f"{phrase.leading(measure)} against {scale.name}: {len(points)} networks, {len(ahead)} on the front"
        return with_tips(svg(figure, title), tips)


def _frame(axes: Axes, scale: Scale, points: Sequence[tuple[Network, float, float]]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    heights = [right for _, _, right in points]
    heights += [100 * seed.accuracy for one, _, _ in points for seed in one.seeds if seed.accuracy is not None]
    costs = [cost for _, cost, _ in points]
    costs += [cost for one, _, _ in points for seed in one.seeds if (cost := scale.cost(seed)) is not None]
    # At least one point of accuracy high: a difference of 0.02 must not look like a cliff.
    margin = max(0.18 * (max(heights) - min(heights)), 0.5)
    axes.set_ylim(min(heights) - margin, max(heights) + margin)
    axes.set_xlim(0, 1.12 * max(costs) or 1.0)
    measure = compare.measure(one.entry for one, _, _ in points)
    axes.set(xlabel=phrase.clip(scale.axis, 56), ylabel=f"{phrase.clip(measure, 40)}, %")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if scale.setting is None:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: phrase.tidy(scale.written(value))))


def _draw_front(axes: Axes, steps: Sequence[tuple[float, float]]) -> None:
    """What accuracy can be had at a cost: level until the next network, which is dearer and better."""
    right = axes.get_xlim()[1]
    costs, heights = [cost for cost, _ in steps], [height for _, height in steps]
    axes.step([*costs, right], [*heights, heights[-1]], where="post", color=ink("soft"), linewidth=1.1,
              linestyle=(0, (4, 3)), zorder=1)  # fmt: skip


def _draw_point(axes: Axes, one: Network, scale: Scale, cost: float, right: float) -> None:
    timing = next((t for t in one.entry.latency if t.setting == scale.setting), None)
    if timing is not None:
        axes.errorbar(cost, right, xerr=timing.spread_ms / 2, color=ink("soft"), linewidth=0.8)
    _draw_seeds(axes, one, scale, cost, right)
    axes.plot([cost], [right], _MARKERS[one.shape], markersize=7, color=ink(one.colour), markeredgewidth=0, zorder=3)


def _draw_seeds(axes: Axes, one: Network, scale: Scale, cost: float, right: float) -> None:
    """The networks that a mean is of, small, and a bar of their standard deviation to either side."""
    accuracy = spread([seed.accuracy for seed in one.seeds])
    if accuracy is None or accuracy.std is None:
        return
    axes.errorbar(cost, right, yerr=100 * accuracy.std, color=ink("soft"), linewidth=0.8)
    found = [(scale.cost(seed), 100 * seed.accuracy) for seed in one.seeds if seed.accuracy is not None]
    axes.plot(*zip(*found, strict=True), _MARKERS[one.shape], markersize=2.5, color=ink(one.colour), alpha=0.55,
              linestyle="", markeredgewidth=0, zorder=2)  # fmt: skip


def _name(axes: Axes, points: Sequence[tuple[Network, float, float]], ahead: Sequence[Network]) -> None:
    shown = [p for p in points if len(points) <= _NAMED or p[0] in ahead]
    others = [(cost, right, "") for one, cost, right in points if one not in [p[0] for p in shown]]
    place_labels(axes, [(cost, right, phrase.clip(one.label, 26)) for one, cost, right in shown] + others)


def _told(one: Network, scale: Scale, cost: float, ahead: bool) -> list[str]:
    """What a point says: its name, its accuracy, its cost beside that of the dense network, and whether it leads."""
    entry, report = one.entry, one.report
    moved = compare.points(report, entry)
    change = "" if moved is None else f" ({phrase.change(moved, 2)} points)"
    before = scale.cost(report.dense) if report.dense is not None and not one.dense else None
    if before and scale.setting is not None:
        beside = f" ({phrase.times(before / cost)} as fast as dense)" if cost else ""
    else:
        beside = f" ({phrase.times(cost / before)} of dense)" if before else ""
    mean = f", mean of {len(one.seeds)}" if len(one.seeds) > 1 else ""
    return [
        phrase.clip(one.label, 52),
        f"{phrase.reached(entry, 2)}{' right' * (entry.measure == ACCURACY)}{change}{mean}",
        f"{scale.written(cost)}{beside}" + ("" if scale.setting is not None else f", {scale.name}"),
        "on the front" if ahead else "another is as good for less",
    ]
