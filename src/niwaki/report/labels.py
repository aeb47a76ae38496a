"""Names beside points: each label goes to the nearest free place around its point."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .canvas import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["place_labels"]

_SPOTS = [(8, 0), (-8, 0), (0, 10), (0, -10), (8, 10), (8, -10), (-8, 10), (-8, -10)]
_AROUND = [(x * far, y * far) for far in (1, 1.8, 2.8, 4) for x, y in _SPOTS]


def place_labels(
    axes: Axes, spots: list[tuple[float, float, str]], arrows_from: tuple[float, float] | None = None
) -> None:
    """Write each (x, y, text) beside its point, where it covers no other label, no point and no arrow.

    `arrows_from` is the common start, in data units, of the arrows that lead to the points.
    """
    figure = cast("Figure", axes.figure)
    figure.draw_without_rendering()
    ends = [_pixels(axes, x, y) for x, y, _ in spots]
    taken = [_box(*end, 4, 4, 0, 0) for end in ends]
    if arrows_from is not None:
        taken += [box for end in ends for box in _along(_pixels(axes, *arrows_from), end)]
    scale = figure.get_dpi() / 72
    for (x, y, text), here in zip(spots, ends, strict=True):
        label = axes.annotate(
            text,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            size=9.5,
            color=ink("ink"),
            annotation_clip=False,
        )
        size = label.get_window_extent()
        boxes = [_box(*here, size.width / 2, size.height / 2, dx * scale, dy * scale) for dx, dy in _AROUND]
        costs = [_cost(box, taken, axes) + i * 1e-3 for i, box in enumerate(boxes)]
        pick = costs.index(min(costs))
        taken.append(boxes[pick])
        dx, dy = _AROUND[pick]
        label.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
        label.set_verticalalignment("center")
        label.set_position((dx, dy))
        label.set_in_layout(False)


_Box = tuple[float, float, float, float]


def _pixels(axes: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[_Box]:
    """An arrow as a string of small beads, so that a label can tell how much of it it would cover."""
    beads = [i / 40 for i in range(1, 40)]
    return [_box(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1]), 2, 2, 0, 0) for t in beads]


def _box(x: float, y: float, half_wide: float, half_high: float, dx: float, dy: float) -> _Box:
    """Left, bottom, right, top of a box beside (x, y), on the side that dx points to; centred if dx is 0."""
    middle = x + dx + (half_wide if dx > 0 else -half_wide if dx < 0 else 0)
    return (middle - half_wide, y + dy - half_high, middle + half_wide, y + dy + half_high)


def _cost(box: _Box, taken: list[_Box], axes: Axes) -> float:
    left, low, right, high = map(float, axes.get_window_extent().extents)
    outside = max(left - box[0], 0) + max(box[2] - right, 0) + max(low - box[1], 0) + max(box[3] - high, 0)
    return outside + sum(_overlap(box, other) for other in taken)


def _overlap(one: _Box, two: _Box) -> float:
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    return wide * high if wide > 0 and high > 0 else 0.0
