"""Figures of all groups at once: how the norms of their units spread, and how far the kept outweigh the chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import phrase
from .canvas import DEPTHS, calm, drawing, ink, short_ticks, svg
from .schema import GroupParting, Parting
from .stages import key_above, name_stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ratios", "spreads"]

_NAMED = ("clay", "slate", "plum")  # the groups whose spread ends greatest
_BEFORE = 0.42  # of the width: the factors before units are picked, a hundredth of all in the paper's settings
_BEYOND = 100.0  # times the bar, or times 1,000: a ratio above is drawn there


def spreads(parting: Parting) -> str:
    """The spread (standard deviation over mean) of each group's norms against the penalty factor, logarithmic upward.

    Where all units are pressed before some are picked, the scale has two parts: all factors up to the pick, and after.
    """
    lines = [line for line in _lines(parting) if len(line.spread) > 1]
    values = [value for line in lines for _, value in line.spread]
    most = max((penalty for line in lines for penalty, _ in line.spread), default=0.0)
    if not values or most <= 0:
        return ""
    with drawing():
        key = _key(lines)
        figure, axes = _panel(len(key), stages=True)
        for line in lines:
            axes.plot([p for p, _ in line.spread], [v for _, v in line.spread], clip_on=False, **line.style)
        axes.set(xlabel="penalty factor λ", ylabel="spread of norms: std / mean")
        # At least a factor of 4 high: a spread that hardly changes must look so.
        _log_axis(axes, min(*values, 0.3 * max(values)), 1.15 * max(values))
        axes.set_xlim(0, most)
        key_above(axes, key, 1, names=True)
        name_stages([axes], _pressed(axes, parting, most))
        return svg(figure, f"Spread of the norms in each group of {parting.entry} against the penalty")


def ratios(parting: Parting) -> str:
    """How many times the kept units of each group outweigh the chosen ones, over the steps, on a logarithmic scale."""
    lines = [line for line in _lines(parting) if len(line.ratio) > 1]
    values = [value for line in lines for _, value in line.ratio]
    if not values:
        return ""
    cap = _BEYOND * max(parting.parted or 0.0, 1000.0)
    with drawing():
        key = _key(lines)
        figure, axes = _panel(len(key), bool(parting.stages))
        for line in lines:
            axes.plot([s for s, _ in line.ratio], [min(r, cap) for _, r in line.ratio], clip_on=False, **line.style)
        axes.set(xlabel="step", ylabel="mean norm: kept / chosen")
        axes.set_xlim(min((step for _, step in parting.stages), default=lines[0].ratio[0][0]), parting.end)
        _log_axis(axes, min(values), 2.2 * min(max(*values, parting.parted or 0.0), cap))
        key_above(axes, key, 1, bool(parting.stages))
        short_ticks(axes)
        if parting.parted is not None:
            _early_stop(axes, parting.parted)
        name_stages([axes], parting.stages)
        return svg(figure, f"Mean kept norm over mean chosen norm in each group of {parting.entry}")


@dataclass(frozen=True)
class _Line:
    """A group's line: its series, the step of the cut, its colour and, for the few with a colour of their own, that
    they are named."""

    data: GroupParting
    end: int
    colour: str
    named: bool

    @property
    def spread(self) -> list[tuple[float, float]]:
        """(penalty, spread); norms that are all the same have no place on a logarithmic scale."""
        return [pair for pair in zip(self.data.penalty, self.data.spread, strict=True) if pair[1] > 0]

    @property
    def ratio(self) -> list[tuple[int, float]]:
        """(step, ratio) from where units are chosen; what is not above 0 has no place on a logarithmic scale."""
        pairs = zip(self.data.steps, self.data.ratio, strict=True)
        cut = () if self.data.at_cut is None else ((self.end, self.data.at_cut),)
        return [(step, ratio) for step, ratio in (*pairs, *cut) if ratio is not None and ratio > 0]

    @property
    def style(self) -> dict[str, Any]:
        return {"color": ink(self.colour), "linewidth": 1.5 if self.named else 0.8, "zorder": 3 if self.named else 2}


def _lines(parting: Parting) -> list[_Line]:
    """All groups, in the shade of their depth; those whose spread ends greatest in colours of their own."""
    groups = parting.groups
    ends = sorted((-one.spread[-1] if one.spread else 0.0, i) for i, one in enumerate(groups))
    # In the network's order, so that two methods that part the same groups most give them the same colours.
    named = dict(zip(sorted(i for _, i in ends[: len(_NAMED)]), _NAMED, strict=False))
    shades = [DEPTHS[i * len(DEPTHS) // len(groups)] for i in range(len(groups))]
    return [_Line(one, parting.end, named.get(i, shades[i]), i in named) for i, one in enumerate(groups)]


def _pressed(axes: Axes, parting: Parting, most: float) -> list[tuple[str, float]]:
    """Which units were pressed, from which factor on. Where that changes, the scale changes too."""
    everything, some = "all units pressed", "picked ones pressed"
    picked = parting.picked
    if picked is not None and 0 < picked < most:
        _two_scales(axes, picked, most)
        return [(everything, 0.0), (some, picked)]
    chosen = any(ratio is not None for one in parting.groups for ratio in one.ratio)
    return [(some if chosen else everything, 0.0)]


def _key(lines: list[_Line]) -> list[tuple[Sequence[str], str]]:
    """Rows of the key: the names of the coloured lines, and what the shades of the others mean."""
    rows: list[tuple[Sequence[str], str]] = []
    rows += [([line.colour], phrase.clip(line.data.group, 46)) for line in lines if line.named]
    rest = [line for line in lines if not line.named]
    if rest:
        shades = list(dict.fromkeys(line.colour for line in rest))
        order = ", from the first to the last" if len(shades) > 1 else ""
        rows.append((shades, f"{len(rest)} other group{'s' * (len(rest) > 1)}{order}"))
    return rows


def _panel(rows: int, stages: bool) -> tuple[Figure, Axes]:
    """A figure whose panel is equally high whatever stands above it."""
    figure, (axes,) = calm(205 + 15 * rows + 14 * stages)
    return figure, axes


def _two_scales(axes: Axes, picked: float, most: float) -> None:
    """A linear scale up to the pick and another after it; on one alone the first part would not be seen."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    data, places = [0.0, picked, most], [0.0, _BEFORE, 1.0]
    axes.set_xscale("function", functions=(lambda x: np.interp(x, data, places), lambda x: np.interp(x, places, data)))
    axes.set_xlim(0, most)
    # A tick that stands too near to that of the pick would be written over it.
    later = [
        x
        for x in MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(picked, most)
        if np.interp(x, data, places) > _BEFORE + 0.15
    ]
    axes.xaxis.set_major_locator(FixedLocator([0.0, picked / 2, picked, *(x for x in later if x <= most)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _log_axis(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.set_ylim(0.9 * low, high)
    wide = math.log10(high / low) > 2
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))


def _early_stop(axes: Axes, parted: float) -> None:
    """The bar of the method. Its name stands above it at the left, where no line has come so far yet."""
    axes.axhline(parted, color=ink("ink"), linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        "parted enough", (0, parted), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points",
        size=9.5, color=ink("soft"), va="bottom",
    )  # fmt: skip
