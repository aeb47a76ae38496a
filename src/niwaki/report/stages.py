"""The stages of a method along a horizontal axis: a thin line where each begins, its name above the panel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, cast

from .canvas import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["key_above", "name_stages"]

_STRIP = 14.0  # points between a panel and its key, for the names
_GAP = 7.0  # points between two names


def key_above(axes: Axes, rows: Sequence[tuple[Sequence[str], str]], columns: int, names: bool) -> None:
    """A key of (colours, text) above the panel, with room between for the names of stages if there are ``names``."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    figure = cast("Figure", axes.figure)
    place = axes.transAxes + ScaledTranslation(-7 / 72, (_STRIP if names else 0) / 72, figure.dpi_scale_trans)
    axes.legend(
        [tuple(Line2D([], [], color=ink(colour), linewidth=1.6) for colour in colours) for colours, _ in rows],
        [text for _, text in rows], ncols=columns, loc="lower left", bbox_to_anchor=(0, 0.99), bbox_transform=place,
        borderaxespad=0, handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )  # fmt: skip


def name_stages(panels: Sequence[Axes], stages: Sequence[tuple[str, float]]) -> None:
    """Mark where each (name, start) but the first begins on all panels, and write the names above the first.

    Every stage lasts until the next one or the right end. The names stand over their stages, moved aside as far as
    their neighbours and the borders demand; if they do not fit, the lines stand alone.
    """
    if not stages:
        return
    right = panels[0].get_xlim()[1]
    for panel in panels:
        for _, start in stages[1:]:
            if start < right:
                panel.axvline(start, color=ink("soft"), linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
    figure = cast("Figure", panels[0].figure)
    figure.draw_without_rendering()
    texts = [_text(panels[0], name) for name, _ in stages]
    widths = [text.get_window_extent().width for text in texts]
    window = panels[0].get_window_extent()
    borders = [panels[0].transData.transform((at, 1))[0] for at in [*(start for _, start in stages), right]]
    centres = [(a + b) / 2 for a, b in pairwise(borders)]
    places = side_by_side(centres, widths, window.x0, window.x1, _GAP * figure.get_dpi() / 72)
    for text, place, width in zip(texts, places, widths, strict=False):
        text.set_x((place + width / 2 - window.x0) / window.width)
    for text in texts[len(places) :]:
        text.remove()


def side_by_side(centres: Sequence[float], widths: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Left ends for boxes in a row, near their centres, between the borders and apart; none if they do not fit."""
    lefts: list[float] = []
    least = low
    for centre, width in zip(centres, widths, strict=True):
        lefts.append(max(centre - width / 2, least))
        least = lefts[-1] + width + gap
    most = high
    for i in reversed(range(len(lefts))):
        lefts[i] = min(lefts[i], most - widths[i])
        most = lefts[i] - gap
    return lefts if lefts and lefts[0] >= low else []


def _text(axes: Axes, name: str) -> Text:
    """The name just above the panel; where along it is settled later."""
    from matplotlib.transforms import ScaledTranslation

    figure = cast("Figure", axes.figure)
    above = axes.transAxes + ScaledTranslation(0, 3 / 72, figure.dpi_scale_trans)
    made = axes.text(0, 1, name, transform=above, size=9.5, color=ink("soft"), ha="center", va="bottom")
    made.set_in_layout(False)
    return made
