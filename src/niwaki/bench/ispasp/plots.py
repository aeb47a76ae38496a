"""The two figures, drawn as the report draws, with the paper's points as circles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from niwaki.bench.ispasp import timing
from niwaki.bench.ispasp.printed import FIGURE_2, FIGURE_3
from niwaki.bench.ispasp.rivals import LABELS
from niwaki.bench.ispasp.study import WHEN
from niwaki.report.canvas import calm, colour, drawing, ink, svg


def synthetic(curves: Sequence[Mapping[str, Any]]) -> str:
    """``||V||_F^2`` against the units that stay, a panel for each width, as SVG."""
    widths = sorted({curve["width"] for curve in curves})
    with drawing():
        figure, panels = calm(250 * len(widths), len(widths))
        for axes, width in zip(panels, widths, strict=True):
            for position, curve in enumerate(c for c in curves if c["width"] == width):
                shade, values = ink(colour(position)), curve["residuals"][:-1]
                axes.plot(range(1, len(values) + 1), values, color=shade, linewidth=1.1, label=f"p = {curve['p']}")
                printed = FIGURE_2.get(width, {}).get(curve["p"], {})
                axes.plot(list(printed), list(printed.values()), "o", color=shade, markersize=4, fillstyle="none")
            axes.set(yscale="log", xlabel=f"units kept of {width}", ylabel="squared residual")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
        panels[-1].legend(loc="lower left")
        return svg(figure, "Squared residual of i-SpaSP on made-up matrices; circles are the paper's")


def accuracies(lines: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy against the units that stay: as cut, with least squares, and both of them tuned; as SVG."""
    with drawing():
        figure, panels = calm(800, len(WHEN))
        for axes, (when, label) in zip(panels, WHEN.items(), strict=True):
            for position, rival in enumerate(LABELS):
                mine = [line for line in lines if line["rival"] == rival]
                if not mine:
                    continue
                shade, x = ink(colour(position)), [line["keep"] for line in mine]
                axes.plot(x, [line[when]["mean"] for line in mine], color=shade, linewidth=1.1, label=LABELS[rival])
                printed = FIGURE_3.get(when, {}).get(rival, {})
                axes.plot(list(printed), list(printed.values()), "o", color=shade, markersize=4, fillstyle="none")
            axes.set(ylabel="accuracy, %")
            axes.set_title(label, loc="left", fontsize=10)
        panels[-1].legend(loc="lower right")
        panels[-1].set_xlabel("units kept of 10,000")
        return svg(figure, "Accuracy on MNIST as cut, with least squares, and tuned; circles are the paper's")


def times(results: Sequence[Mapping[str, Any]]) -> str:
    """Seconds of one core against the share that is kept, a panel for each block, as SVG."""
    blocks = sorted({each["channels"] for each in results})
    with drawing():
        figure, panels = calm(250 * len(blocks), len(blocks))
        for axes, channels in zip(panels, blocks, strict=True):
            for position, name in enumerate(timing.LABELS):
                mine = [e for e in results if (e["channels"], e["contestant"]) == (channels, name)]
                points = sorted((100 * e["kept"], timing.seconds(mine, channels, name, e["kept"])) for e in mine)
                if points:
                    label = timing.LABELS[name]
                    axes.plot(*zip(*points, strict=True), "o-", color=ink(colour(position)), markersize=3, label=label)
            axes.set(yscale="log", xlabel=f"channels kept of {channels}, %", ylabel="seconds of a core")
        panels[0].legend(loc="center right")
        return svg(figure, "Time to prune one block of ResNet-34, by the share of channels that is kept")


__all__ = ["accuracies", "synthetic", "times"]
