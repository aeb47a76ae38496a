"""Words that a point of a figure shows when it is pointed at, tapped or reached by the keyboard, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree

from .canvas import FONT, WIDTH, themed
from .phrase import clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Tip", "place_of", "with_tips"]

_REACH = 11.0  # points around a point that belong to it: a finger is wide
_LINE, _CHARACTER, _EDGE = 12.5, 5.2, 6.0


@dataclass(frozen=True)
class Tip:
    """The place of a point in a figure, in points from its top left corner, and what it says, line by line."""

    x: float
    y: float
    lines: tuple[str, ...]


def place_of(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where (x, y), in data units, stands in the figure. The layout stays as it is from here on."""
    figure = cast("Figure", axes.figure)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    across, up = axes.transData.transform((x, y))
    scale = 72 / figure.get_dpi()
    return float(across) * scale, (figure.bbox.height - float(up)) * scale


def with_tips(svg: str, tips: Sequence[Tip]) -> str:
    """The figure with its points made to speak."""
    if not svg:
        return ""
    head, _, _ = svg.rpartition("</svg>")
    high = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[3])
    # Its points can be reached one by one: it is more than an image.
    return head.replace('role="img"', 'role="group"', 1) + "".join(_drawn(tip, high) for tip in tips) + "</svg>"


def _drawn(tip: Tip, high: float) -> str:
    lines = [clip(line, 60) for line in tip.lines]
    root = ElementTree.Element("g", {"class": "point", "tabindex": "0", "role": "img", "aria-label": ", ".join(lines)})
    place = {"cx": f"{tip.x:.2f}", "cy": f"{tip.y:.2f}", "r": f"{_REACH:g}"}
    ElementTree.SubElement(root, "circle", {**place, "style": "fill: none; pointer-events: all"})
    words = ElementTree.SubElement(root, "g", {"class": "tip", "visibility": "hidden"})
    wide = max(map(len, lines)) * _CHARACTER + 2 * _EDGE
    tall = len(lines) * _LINE + _EDGE
    left = min(max(tip.x - wide / 2, 0.0), max(WIDTH - wide, 0.0))
    top = tip.y - _REACH - tall - 2
    top = top if top >= 0 else min(tip.y + _REACH + 2, high - tall)
    frame = {"x": f"{left:.2f}", "y": f"{top:.2f}", "width": f"{wide:.2f}", "height": f"{tall:.2f}", "rx": "3"}
    style = f"fill: {themed('card')}; stroke: {themed('soft')}; stroke-width: 0.7"
    ElementTree.SubElement(words, "rect", {**frame, "style": style})
    for i, line in enumerate(lines):
        at = {"x": f"{left + _EDGE:.2f}", "y": f"{top + _LINE * (i + 1) - 2:.2f}"}
        colour = themed("soft" if i else "ink")
        ElementTree.SubElement(words, "text", {**at, "style": f"font: 9.5px {FONT}; fill: {colour}"}).text = line
    return ElementTree.tostring(root, encoding="unicode")
