"""The sections that the page of one run and that of several have in common, as the templates take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import compare, narrowed, pareto, phrase, table
from .pareto import Network
from .pictures import Picture, drawn
from .schema import Report

__all__ = ["Row", "common"]

_OPEN = 16  # rows of a table up to which it is shown without being asked for


@dataclass(frozen=True)
class Row:
    """A row of a table of networks: the network, a remark under its name, and its cells, the name first."""

    network: Network
    aside: str
    cells: Sequence[table.Cell]


def common(reports: Mapping[str, Report]) -> dict[str, Any]:
    """What the templates need for all sections that are alike on both pages."""
    networks, several = pareto.networks_of(reports), len(reports) > 1
    failing = [one for one in networks if not one.dense and compare.verdict(one.entry) == "fails"]
    return {
        "networks": networks,
        "several": several,
        "columns": table.columns(*reports.values()),
        "rows": _rows(reports, networks, several),
        "failing": failing,
        "alarms": [
            (f"{one.entry.label} ({one.run})" if several else one.entry.label, f"#certificate-{i}")
            for i, one in enumerate(failing, start=1)
        ],
        "fronts_drawn": _fronts(reports, networks),
        "front_columns": ["network", _measure(networks), *(scale.name for scale in pareto.scales(*reports.values()))],
        "front_rows": _front_rows(reports, networks, several),
        "forecast_columns": narrowed.FORECAST,
        "forecast_rows": [
            Row(one, one.run if several else "", cells) for one, cells in narrowed.forecast_rows(networks)
        ],
        "forecast_error": narrowed.forecast_error(networks),
        "narrowed": [part for run, report in reports.items() if (part := _narrowed(run, report, networks))["rows"]],
        "stopped": [(run, report.blocked) for run, report in reports.items() if report.blocked],
        "made": [(run, report, [one for one in networks if one.run == run]) for run, report in reports.items()],
    }  # fmt: skip


def _rows(reports: Mapping[str, Report], networks: Sequence[Network], several: bool) -> list[Row]:
    beside = list(reports.values())
    cells = [row for report in beside for row in table.rows(report, beside)]
    return [Row(one, one.run if several else "", row) for one, row in zip(networks, cells, strict=True)]


def _fronts(reports: Mapping[str, Report], networks: Sequence[Network]) -> list[Picture]:
    found = [(scale, pareto.picture(networks, scale)) for scale in pareto.scales(*reports.values())]
    timed = " The line through a point is as wide as the middle half of the runs."
    what = phrase.leading(_measure(networks))
    return drawn(*((svg, f"{what} against {s.name}.{timed * bool(s.setting)}") for s, svg in found))


def _measure(networks: Sequence[Network]) -> str:
    return compare.measure(one.entry for one in networks)


def _front_rows(reports: Mapping[str, Report], networks: Sequence[Network], several: bool) -> list[Row]:
    """The points of all these figures in words."""
    columns = [(scale, pareto.front(networks, scale)) for scale in pareto.scales(*reports.values())]
    return [
        Row(one, one.run if several else "", [
            table.Cell(one.entry.label),
            table.Cell("—" if one.entry.accuracy is None else phrase.percent(one.entry.accuracy, 2)),
            *(_front_cell(one, scale, ahead) for scale, ahead in columns),
        ])
        for one in networks
    ]  # fmt: skip


def _front_cell(one: Network, scale: pareto.Scale, ahead: Sequence[Network]) -> table.Cell:
    cost = scale.cost(one.entry)
    if cost is None:
        return table.Cell("—")
    return table.Cell(scale.written(cost), *(("on the front", "good") if one in ahead else ()))


def _narrowed(run: str, report: Report, networks: Sequence[Network]) -> dict[str, Any]:
    methods = [one for one in networks if one.run == run and one.entry.limits]
    rows = narrowed.width_rows(report)
    return {
        "run": run,
        "methods": [(one, narrowed.causes(one.entry.limits)) for one in methods],
        "columns": ["group", *(one.entry.label for one in methods)],
        "rows": rows,
        "open": len(rows) <= _OPEN,
    }
