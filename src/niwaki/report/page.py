"""The page: one HTML file that needs nothing else, neither network nor script, today or in ten years."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from . import compare, phrase, plots, table
from .canvas import COLOURS, colour
from .schema import Entry, Report

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]

_MOST_ROWS = 20  # groups per widths figure: more are laid out in columns
_MOST_TRACES = 8


@dataclass(frozen=True)
class _Picture:
    """A figure that is not empty, and the caption that says how to read it."""

    svg: str
    caption: str


def render(report: Report) -> str:
    """The whole page as HTML. Sections without data are left out; every string of the report is escaped."""
    from markupsafe import Markup

    environment = _environment()
    return environment.get_template("report.html.j2").render(
        report=report,
        headline=phrase.headline(report),
        failing=[entry for entry in compare.pruned(report) if compare.verdict(entry) == "fails"],
        columns=table.columns(report),
        rows=list(zip(report.entries, table.rows(report), strict=True)),
        methods=compare.pruned(report),
        swatches={entry.name: _swatch(report, entry) for entry in report.entries},
        outcomes=_outcomes(report),
        widths=_widths(report),
        partings=_partings(report),
        picked=any(parting.picked is not None for parting in report.partings),
        traces=_traces(report),
        more_traces=max(len(report.traces) - _MOST_TRACES, 0),
        palette=Markup(_palette()),
        css=Markup(_read("report.css")),
    )


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only our own drawings are taken as markup; `canvas.svg` has escaped the text inside them.
    environment.filters.update(drawn=Markup, flat=_flat, error=_error, verdict=compare.verdict, seconds=_seconds)
    return environment


def _read(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _palette() -> str:
    def rules(theme: int) -> str:
        return " ".join(f"--{name}: {pair[theme]};" for name, pair in COLOURS.items())

    # Dark is for screens only: on paper the light colours stand.
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {rules(1)} }} }}"
    return f":root {{ {rules(0)} }}\n{dark}"


def _swatch(report: Report, entry: Entry) -> str:
    others = [other.name for other in compare.pruned(report)]
    return colour(others.index(entry.name)) if entry.name in others else "ink"


def _outcomes(report: Report) -> list[_Picture]:
    return _drawn(
        (
            plots.accuracy_against_macs(report),
            "Accuracy against MACs. Up is better, left is smaller; arrows lead from the dense network.",
        ),
        (
            plots.speedups(report),
            "Promise and fact. Pale: the speed-up that counting MACs promises. Coloured: the one measured.",
        ),
        (
            plots.accuracy_against_latency(report),
            "Accuracy against measured time: the median, with a line as wide as the middle half of the runs.",
        ),
        (plots.curve(report), "Training. A ring marks the start of a phase. " + _phases(report)),
    )


def _phases(report: Report) -> str:
    phases = list(dict.fromkeys(point.phase for point in report.curve))
    return f"Phases: {', '.join(phases)}." if phases else ""


def _widths(report: Report) -> list[_Picture]:
    names = list(report.dense.widths) if report.dense else []
    # An even number of figures fills both columns of a wide page.
    figures = 1 if len(names) <= 6 else 2 * math.ceil(len(names) / (2 * _MOST_ROWS))
    deep = max(math.ceil(len(names) / figures), 1)
    parts = [names[i : i + deep] for i in range(0, len(names), deep)]
    return _drawn(*((plots.widths(report, part), "") for part in parts))


def _partings(report: Report) -> list[_Picture]:
    labels = {entry.name: entry.label for entry in report.entries}
    pairs = [
        [(plots.spreads(parting), phrase.spreading(parting)), (plots.ratios(parting), phrase.outweighing(parting))]
        for parting in report.partings
    ]
    names = [labels[parting.entry] for parting in report.partings]
    return _drawn(*((svg, f"{name}. {said}") for name, pair in zip(names, pairs, strict=True) for svg, said in pair))


def _traces(report: Report) -> list[_Picture]:
    labels = {entry.name: entry.label for entry in report.entries}
    partings = {parting.entry: parting for parting in report.partings}
    shown = report.traces[:_MOST_TRACES]
    return _drawn(
        *((plots.norms(trace, partings.get(trace.entry)), f"{trace.group}, {labels[trace.entry]}") for trace in shown)
    )


def _drawn(*pictures: tuple[str, str]) -> list[_Picture]:
    return [_Picture(svg, caption) for svg, caption in pictures if svg]


def _flat(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs; lists are shown as JSON."""
    return list(_leaves("", tree))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and (value or not name):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, item)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _error(value: float | None) -> str:
    """A worst error or a tolerance; None stands for outputs that were not finite."""
    return "not finite" if value is None else "0" if value == 0 else f"{value:.1e}"


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
