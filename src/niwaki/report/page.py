"""The page: one HTML file that needs nothing else, neither network nor script, today or in ten years."""

from __future__ import annotations

import math

from . import compare, heat, phrase, plots
from .canvas import colour
from .patterns import Run
from .pictures import Picture, drawn, over_rounds, patterns_of
from .schema import Report
from .sections import common
from .templating import fill

__all__ = ["render"]

_MOST_ROWS = 20  # groups per widths figure: more are laid out in columns
_MOST_TRACES = 8


def render(report: Report) -> str:
    """The whole page as HTML. Sections without data are left out; every string of the report is escaped."""
    return fill(
        "report.html.j2",
        report=report,
        title=report.title,
        created=report.created,
        headline=phrase.headline(report),
        methods=compare.pruned(report),
        swatches={entry.name: _swatch(report, entry.name) for entry in report.entries},
        outcomes=_outcomes(report),
        widths=_widths(report),
        partings=_partings(report),
        picked=any(parting.picked is not None for parting in report.partings),
        patterns=_patterns(report),
        key=heat.KEY,
        traces=_traces(report),
        more_traces=max(len(report.traces) - _MOST_TRACES, 0),
        **common({report.title: report}),
    )


def _swatch(report: Report, name: str) -> str:
    others = [other.name for other in compare.pruned(report)]
    return colour(others.index(name)) if name in others else "ink"


def _outcomes(report: Report) -> list[Picture]:
    return drawn(
        (
            plots.speedups(report),
            "Promise and fact. Pale: the speed-up that counting MACs promises. Coloured: the one measured.",
        ),
        (plots.curve(report), "Training. A ring marks the start of a phase. " + _phases(report)),
        (
            plots.scores(report),
            f"{phrase.leading(compare.measure(report.entries))} at the end of each round, before the next choice, "
            "against the share of zeros among the weights that the method takes from.",
        ),
    )


def _phases(report: Report) -> str:
    phases = list(dict.fromkeys(point.phase for point in report.curve))
    return f"Phases: {', '.join(phases)}." if phases else ""


def _widths(report: Report) -> list[Picture]:
    names = list(report.dense.widths) if report.dense else []
    # An even number of figures fills both columns of a wide page.
    figures = 1 if len(names) <= 6 else 2 * math.ceil(len(names) / (2 * _MOST_ROWS))
    deep = max(math.ceil(len(names) / figures), 1)
    parts = [names[i : i + deep] for i in range(0, len(names), deep)]
    return drawn(*((plots.widths(report, part), "") for part in parts))


def _partings(report: Report) -> list[Picture]:
    labels = {entry.name: entry.label for entry in report.entries}
    pairs = [
        [(plots.spreads(parting), phrase.spreading(parting)), (plots.ratios(parting), phrase.outweighing(parting))]
        for parting in report.partings
    ]
    names = [labels[parting.entry] for parting in report.partings]
    return drawn(*((svg, f"{name}. {said}") for name, pair in zip(names, pairs, strict=True) for svg, said in pair))


def _patterns(report: Report) -> list[Picture]:
    labels = {entry.name: entry.label for entry in report.entries}
    runs = [Run(labels[told.entry], _swatch(report, told.entry), told) for told in report.patterns]
    return [picture for run in runs for picture in patterns_of(run)] + over_rounds(runs)


def _traces(report: Report) -> list[Picture]:
    labels = {entry.name: entry.label for entry in report.entries}
    partings = {parting.entry: parting for parting in report.partings}
    shown = report.traces[:_MOST_TRACES]
    return drawn(
        *((plots.norms(trace, partings.get(trace.entry)), f"{trace.group}, {labels[trace.entry]}") for trace in shown)
    )
