"""Several reports on one page: all networks in the table, matrices matched by name, limits of comparison told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from niwaki.errors import BadInput
from niwaki.pattern import look
from niwaki.report import Entry, PatternRound, Patterns, Report, table, together
from tests.report.sample import certificate, dense, greg, patterns, sample, timings, without_maps
from tests.report.test_page import EVIL, Outline


def report(label: str = "IMP", *told: Patterns, **more: Any) -> Report:
    """A dense network and one that was pruned."""
    entries = [dense(), greg(label=label, **more)]
    return sample(title=label, entries=entries, traces=[], curve=[], patterns=told, command=f"niwaki prune {label}")


def pair(**more: Any) -> dict[str, Report]:
    imp = report("IMP", patterns(layers=4))
    return {"imp": imp, "spur": report("SPUR", patterns(layers=4, strength=1.5), **more)}


@pytest.fixture(scope="module")
def html() -> str:
    """The page of a pair."""
    return together.render(pair())


def test_the_page_holds_both_runs(html: str) -> None:
    outline = Outline(html)
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Before and after", "What it cost, what it gained", "Where the surviving weights are", "Matrix by matrix",
        "Certificates", "How they were made", "Do it again",
    ]  # fmt: skip
    # Four fronts; three figures of lines; twelve matrices, three to a figure; the rounds of three.
    assert outline.tags.count("figure") == 4 + 3 + 4 + 3
    assert "imp and spur, side by side" in outline.said
    assert "At 95% sparsity the surviving weights per row and per column have Gini coefficients of 0." in outline.said
    assert "niwaki prune IMP" in outline.said
    assert "niwaki prune SPUR" in outline.said
    assert "in the report.json of imp and spur." in outline.said
    assert not [text for text in ("different sparsities", "Not in every run", "pages of their own") if text in html]
    assert len(outline.ids) == len(set(outline.ids))


def test_the_page_needs_nothing_from_outside(html: str) -> None:
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(Outline(html).tags)
    assert "default-src 'none'" in html
    assert not set(re.findall(r"https?://[^\"' ]+", html)) - {"http://www.w3.org/2000/svg"}


def test_the_table_is_that_of_the_reports_with_the_name_of_the_run(html: str) -> None:
    reports = pair()
    body = html.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in body.split("</tr>")[:-1]]
    expected = [
        [*cells[0].main.split(), run, *(word for c in cells[1:] for word in f"{c.main} {c.aside} {c.more}".split())]
        for run, one in reports.items()
        for cells in table.rows(one)
    ]
    assert rows == expected


def test_every_runtime_has_its_column_in_every_row() -> None:
    torch, onnx = timings(30.0, 12.5)
    first = sample(entries=[replace(dense(), latency=(torch,))], traces=[], curve=[])
    second = sample(entries=[replace(dense(), latency=(onnx, torch))], traces=[], curve=[])
    assert table.columns(first, second)[5:7] == ["PyTorch, batch 16", "ONNX Runtime, batch 16"]
    NB = "\N{NO-BREAK SPACE}"
    assert [cell.main for cell in table.rows(first, [first, second])[0][5:7]] == [f"30.0{NB}ms", "—"]
    assert [cell.main for cell in table.rows(second, [first, second])[0][5:7]] == [f"30.0{NB}ms", f"12.5{NB}ms"]
    html = together.render({"a": first, "b": second})
    assert re.findall(r'data-name="ONNX Runtime, batch 16"><span>(.*?)</span>', html.split("</table>")[0]) == [
        "—",
        f"12.5{NB}ms",
    ]


def test_a_run_keeps_its_colour_in_table_and_figures(html: str) -> None:
    runs = together.runs_of(pair())
    assert [(run.label, run.colour) for run in runs] == [("IMP", "pine"), ("SPUR", "clay")]
    assert set(re.findall(r"--(\w+)\)\"></span>(IMP|SPUR)", html)) == {("pine", "IMP"), ("clay", "SPUR")}


def test_networks_of_the_same_label_are_told_apart_by_their_runs() -> None:
    reports = {"a": report("SPUR", patterns()), "b": report("SPUR", patterns(strength=1.5))}
    assert [run.label for run in together.runs_of(reports)] == ["SPUR (a)", "SPUR (b)"]


def test_matrices_are_matched_by_name() -> None:
    """Whatever their order and their number."""
    one, other = patterns(layers=1), patterns(layers=2, strength=1.5)
    turned = [replace(r, matrices=dict(reversed(r.matrices.items()))) for r in other.rounds]
    html = together.render({"a": report("A", one), "b": report("B", replace(other, rounds=turned))})
    titles = re.findall(r"<title>(\S+), [^<]*</title>", html)
    maps = titles[: 2 * 3]
    assert maps == [name for name in one.names for _ in range(2)]
    assert "Not in every run, and so in no map: encoder.layer.1.output.dense.weight, encoder.layer.1.inter" in html


def _renamed(one: PatternRound, layer: int) -> dict[str, Any]:
    return {name.replace("layer.0", f"layer.{layer}"): pattern for name, pattern in one.matrices.items()}


def test_runs_without_common_matrices_have_lines_and_no_maps() -> None:
    one, other = patterns(layers=1), patterns(layers=1)
    other = replace(other, rounds=[replace(r, matrices=_renamed(r, 5)) for r in other.rounds])
    html = together.render({"a": report("A", one), "b": report("B", other)})
    assert "Not in every run, and so in no map: encoder.layer.0.attention.self.query.weight, " in html
    assert "and 3 more." in html
    assert Outline(html).tags.count("figure") == 4 + 3
    assert "Matrix by matrix" not in html


def test_matrices_without_maps_in_one_run_are_left_out() -> None:
    one = patterns(layers=1)
    name = one.names[1]
    html = together.render({"a": report("A", one), "b": report("B", without_maps(patterns(layers=1), name))})
    assert f"<title>{one.names[0]}" in html
    assert f"<title>{name}" not in html


def test_different_ends_are_told() -> None:
    reports = {"a": report("A", patterns()), "b": report("B", patterns(sparsities=[0.0, 0.9]))}
    html = together.render(reports)
    assert "The runs end at different sparsities." in html
    assert "in A at 95%" in html
    assert "in B at 90%" in html


def test_shapes_may_differ() -> None:
    def told(rows: int) -> Patterns:
        return Patterns("greg1", [PatternRound(0, 0.5, {"m.weight": look(np.arange(2 * rows * 4).reshape(-1, 4) % 2)})])

    html = together.render({"a": report("A", told(2)), "b": report("B", told(40))})
    assert "m.weight, 4 × 4: 50% zeros" in html
    assert "m.weight, 80 × 4: 50% zeros" in html


def test_more_runs_than_colours_are_told() -> None:
    reports = {f"r{i}": report(f"method {i}", patterns(layers=1, sparsities=[0.5])) for i in range(8)}
    assert len(together.runs_of(reports)) == 6
    html = together.render(reports)
    assert "the first 6 are shown; 2 more have pages of their own" in html
    assert len(re.findall("<title>.*?</title>", html)) == 1 + 6 * 3


def test_reports_without_patterns_have_their_table() -> None:
    html = together.render({"a": report("A"), "b": report("B")})
    assert "Where the surviving weights are" not in html
    assert "2 pruned networks of 2 runs" in html
    assert "1 pruned network of 2 runs" in together.render(
        {"a": sample(entries=[dense()], traces=[], curve=[]), "b": report()}
    )


def test_patterns_of_one_run_alone_are_shown() -> None:
    html = together.render({"a": report("A", patterns()), "b": report("B")})
    assert Outline(html).tags.count("figure") == 4 + 3
    assert "each matrix, from the first to the last" in html


def test_a_failed_certificate_is_loud(html: str) -> None:
    broken = together.render({"a": report("A"), "b": report("B", certificate=certificate(holds=False))})
    assert '<section class="alarm" role="alert">' in broken
    alarm = broken.split('role="alert"')[1].split("</section>")[0]
    assert '<a href="#certificate-1">B (b)</a>' in alarm
    assert "A (a)" not in alarm
    assert 'id="certificate-1"' in broken
    assert 'class="alarm"' not in html


def test_hostile_strings_are_text_everywhere() -> None:
    one = patterns(layers=1)
    evil = replace(one, rounds=[replace(r, matrices={EVIL: next(iter(r.matrices.values()))}) for r in one.rounds])
    entries = [Entry("greg1", EVIL, None, None, 1, 1, 1, (), certificate=certificate(holds=False))]
    made = Report(EVIL, EVIL, EVIL, {}, {}, entries, patterns=[evil])
    outline = Outline(together.render({EVIL: made, "other": made}))
    assert not {"script", "b"} & set(outline.tags)
    assert "onload" not in outline.attributes
    assert outline.said.count("<script>alert(1)</script>") > 10


@pytest.mark.parametrize("count", [0, 1])
def test_one_report_is_not_compared(count: int) -> None:
    with pytest.raises(BadInput, match=f"to compare takes two reports at least, not {count}"):
        together.render(dict(list(pair().items())[:count]))


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/imp", "runs/spur"], ["imp", "spur"]),
        (["a/x", "b/x"], ["a/x", "b/x"]),
        (["a/x/r", "b/x/r", "c/y"], ["a/x/r", "b/x/r", "y"]),
        (["a/x", "a/y/x"], ["a/x", "y/x"]),
        (["a", "a"], ["a", "a"]),
    ],
)
def test_runs_are_named_by_as_much_of_their_folders_as_it_takes(
    folders: list[str], names: list[str], tmp_path: Path
) -> None:
    assert together.short_names([tmp_path / folder for folder in folders]) == names


def test_saving_makes_folders_and_the_same_bytes(tmp_path: Path, html: str) -> None:
    path = together.save(pair(), tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    assert path.read_text() == html
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
