"""Fronts of accuracy against cost, and what is said beside them: worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from niwaki.errors import BadInput
from niwaki.report import Entry, Foretold, Limit, Report, ReportError, narrowed, page, pareto, starts, table, together
from tests.report.sample import RESIDUAL, dense, dense_in_full, full, greg, greg_in_full, sample


def network(name: str, accuracy: float | None, macs: int, **more: Any) -> Entry:
    return Entry(name, name, None, accuracy, macs, macs, macs, **more)


def report(*entries: Entry, **more: Any) -> Report:
    return sample(entries=list(entries), traces=[], curve=[], **more)


def in_front(made: Report) -> list[str]:
    networks = pareto.networks_of({"run": made})
    macs = next(scale for scale in pareto.scales(made) if scale.name == "MACs")
    return [one.entry.name for one in pareto.front(networks, macs)]


@pytest.mark.parametrize(
    ("points", "ahead"),
    [
        ([("dense", 0.9, 100)], ["dense"]),
        # b is dearer than a and no better; c is cheaper than all; d has no accuracy.
        ([("dense", 0.9, 100), ("a", 0.8, 50), ("b", 0.8, 60), ("c", 0.1, 10), ("d", None, 1)], ["c", "a", "dense"]),
        ([("a", 0.8, 50), ("b", 0.8, 50), ("c", 0.7, 50)], ["a", "b"]),  # as good for as much: both
        ([("dense", 0.9, 100), ("a", 0.91, 50)], ["a"]),
    ],
)
def test_the_front_is_what_no_other_beats(points: list[tuple[str, float | None, int]], ahead: list[str]) -> None:
    assert in_front(report(*(network(*point) for point in points))) == ahead


def test_every_network_has_a_point_that_says_what_it_is() -> None:
    made = report(dense(), greg())
    networks = pareto.networks_of({"run": made})
    drawn = {scale.name: pareto.picture(networks, scale) for scale in pareto.scales(made)}
    points = ElementTree.fromstring(drawn["MACs"]).findall(".//{*}g[@class='point']")
    said = [point.attrib["aria-label"].replace("\N{NO-BREAK SPACE}", " ") for point in points]
    assert said == [
        "Dense ResNet-18, 91.10% right, 1.80 G, MACs, on the front",
        "GReg-1, 90.80% right (−0.30 points), 600 M (0.33× of dense), MACs, on the front",
    ]
    assert all(point.attrib["tabindex"] == "0" for point in points)
    axes = [scale.axis for scale in pareto.scales(made)]
    assert axes[1:] == ["ms per forward pass in ONNX Runtime, batch 16", "MACs per sample", "file size"]
    assert "12.5\N{NO-BREAK SPACE}ms (2.40× as fast as dense)" in drawn["ONNX Runtime"]


def test_tips_stay_inside_their_figure() -> None:
    made = report(*(network(f"a network of a long name {i}", 0.1 * i, 10 * i + 1) for i in range(1, 10)))
    svg = pareto.picture(pareto.networks_of({"run": made}), pareto.scales(made)[0])
    high = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[3])
    frames = ElementTree.fromstring(svg).findall(".//{*}g[@class='tip']/{*}rect")
    assert len(frames) == 9
    for frame in frames:
        x, y, wide, tall = (float(frame.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= 330
        assert y >= 0
        assert y + tall <= high


def test_runs_have_shapes_and_networks_colours() -> None:
    found = pareto.networks_of({"a": report(dense(), greg()), "b": report(dense(), greg(label="Other"))})
    assert [(one.run, one.colour, one.shape) for one in found] == [
        ("a", "ink", "round"), ("a", "pine", "round"), ("b", "ink", "square"), ("b", "clay", "square"),
    ]  # fmt: skip
    assert [one.label for one in found] == ["Dense ResNet-18 (a)", "GReg-1", "Dense ResNet-18 (b)", "Other"]


def test_the_table_says_which_are_on_the_front() -> None:
    html = page.render(report(dense(), greg(), greg(name="b", label="B", accuracy=0.5)))
    rows = html.split("The same as a table")[1].split("</table>")[0].split("<tr>")[2:]
    assert [row.count("on the front") for row in rows] == [4, 4, 0]


def test_other_beginnings_are_warned_of() -> None:
    """By their weights, or else by accuracy or size."""
    one = report(dense_in_full(), greg())
    other = report(dense_in_full(weights="0" * 64), greg())
    (said,) = starts.differences({"a": one, "b": other})
    assert "a with 91.10% and 11.2\N{NO-BREAK SPACE}M parameters, weights 5eed5eed and b with" in said
    assert starts.differences({"a": one, "b": one}) == []
    assert starts.doubts({"a": one, "b": one}) == []
    judged = replace(one.entries[0], accuracy=0.5, macs=3)  # the same weights, judged and measured otherwise
    assert starts.differences({"a": one, "b": replace(one, entries=[judged])}) == []
    old = report(dense(), greg())
    assert starts.differences({"a": one, "b": old}) == []
    assert starts.doubts({"a": one, "b": old}) == [
        "Whether all runs began with the same weights is not known: b did not say."
    ]
    assert len(starts.differences({"a": old, "b": report(replace(dense(), accuracy=0.9), greg())})) == 1
    assert len(starts.differences({"a": old, "b": report(replace(dense(), params=5), greg())})) == 1


def test_other_ways_to_judge_are_warned_of() -> None:
    one, other = ({"evaluate": "jobs:accuracy", "evaluate_args": {"size": size}} for size in (500, 5000))
    made = {"a": report(dense(), greg(), settings=one), "b": report(dense(), greg(), settings=other)}
    assert ["do not judge their networks alike" in said for said in starts.differences(made)] == [True]
    with pytest.raises(BadInput, match=r"differ in evaluate_args.size \(500 and 5000\).* say why: --mixed"):
        together.render(made)
    html = together.render(made, "on purpose")
    assert html.count('class="warning"') == 1
    assert len(re.findall('class="point"', html)) == 4 * 4  # four figures, each with all networks
    places = {"a": report(dense(), environment={"cores": 2}), "b": report(dense(), environment={"cores": 64})}
    assert "different machines" in starts.doubts(places)[-1]


def test_forecasts_stand_beside_what_was_measured() -> None:
    """Dense: forecast 50 and 30 ms, measured 48 and 30. GReg-1: 25 and 12 ms, measured 30 and 12.5."""
    networks = pareto.networks_of({"run": full()})
    rows = [
        [cell.main.replace("\N{NO-BREAK SPACE}", " ") for cell in cells]
        for _, cells in narrowed.forecast_rows(networks)
    ]
    assert rows == [
        ["Dense ResNet-18", "PyTorch", "50.0 ms", "48.0 ms", "+4.2%", "—", "—", "—"],
        ["Dense ResNet-18", "ONNX Runtime", "30.0 ms", "30.0 ms", "±0.0%", "—", "—", "—"],
        ["GReg-1", "PyTorch", "25.0 ms", "30.0 ms", "−16.7%", "2.00×", "1.60×", "+25.0%"],
        ["GReg-1", "ONNX Runtime", "12.0 ms", "12.5 ms", "−4.0%", "2.50×", "2.40×", "+4.2%"],
    ]
    assert narrowed.forecast_error(networks) == "The forecast speed-ups are off by 14.6% in the middle, at worst 25.0%."
    assert narrowed.forecast_error(pareto.networks_of({"run": sample()})) == ""


def test_widths_say_what_limited_them() -> None:
    rows = {row[0].main: row for row in narrowed.width_rows(full())}
    assert rows["stem"][1] == table.Cell(
        "64 → 32", "target's share", "", "38 by its share; units are left in multiples of 8"
    )
    assert rows[RESIDUAL][0].aside == "tied: layer1.0.conv2, layer1.1.conv2, layer1.0.shortcut and 2 more"
    assert rows[RESIDUAL][1].aside == "not known"
    assert narrowed.causes([Limit("a", "share", ""), Limit("b", "one", ""), Limit("c", "one", "")]) == (
        "one must stay: 2, target's share: 1"
    )
    assert narrowed.width_rows(sample()) == []


def test_memory_has_columns_where_it_was_measured() -> None:
    assert table.columns(sample())[4:6] == ["file", "PyTorch, batch 16"]
    assert table.columns(full())[4:7] == ["file", "activations", "peak memory"]
    cells = [[(cell.main[:4], cell.aside) for cell in row[5:7]] for row in table.rows(full())]
    assert cells[1:3] == [[("3.00", "0.50×"), ("20.0", "0.40×")], [("—", ""), ("—", "")]]
    latency = table.rows(full())[1][7]
    assert (latency.aside, latency.more) == ("1.60× as fast", "MACs say 3.00×")


def test_reports_of_older_releases_still_open() -> None:
    """Files that know nothing of what came later."""
    data = sample().to_json()
    for entry in data["entries"]:
        for key in ("activation_bytes", "peak_bytes", "forecast", "limits", "weights", "measure"):
            del entry[key]
    for key in ("blocked", "partings", "patterns"):
        del data[key]
    assert Report.from_json(data) == sample()
    assert Report.from_json(full().to_json()) == full()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Limit("stem", "shares", ""), "no cause is called 'shares'; did you mean 'share'"),
        (lambda: Foretold("R", 1, 1, 0.0), "ms must be positive"),
        (lambda: greg_in_full(peak_bytes=-1), "peak_bytes must not be negative"),
        (lambda: greg(forecast=[Foretold("R", 1, 1, 2.0)] * 2), "forecast: .* appears twice"),
        (lambda: greg(limits=[Limit("a", "one", "")] * 2), "limits: 'a' appears twice"),
    ],
)  # fmt: skip
def test_records_refuse_nonsense(make: Any, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        make()
