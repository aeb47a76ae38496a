"""The page: everything in it, nothing from outside, nothing unescaped, and a page even of little data."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from niwaki.report import (
    Entry,
    Latency,
    Patterns,
    Phase,
    Point,
    Report,
    Trace,
    canvas,
    heat,
    inside,
    page,
    pareto,
    plots,
    rounds,
)
from niwaki.report.patterns import Run
from tests.report.sample import (
    DENSE_WIDTHS,
    RESIDUAL,
    certificate,
    curve,
    dense,
    full,
    greg,
    parting,
    patterns,
    sample,
    timings,
    trace,
    without_maps,
)

EVIL = '<script>alert(1)</script><b onload="x"> & $x_{2 \\frac ]]> <!-- 庭木 \x07'
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Tags in order, a check that they nest, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.said = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def figures(html: str) -> int:
    return Outline(html).tags.count("figure")


def test_the_page_holds_every_section_and_figure() -> None:
    html = page.render(full())
    outline = Outline(html)
    # 4 fronts, 2 outcomes, widths in two columns, 2 figures of each of 2 partings, 5 of patterns, 2 traces; the mark.
    assert outline.tags.count("figure") == 19
    assert outline.tags.count("svg") == 20
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == [
        "Before and after", "What it cost, what it gained", "Speed and training", "Forecast and fact",
        "Where it was cut", "How the groups parted", "Where the surviving weights are", "How the filters parted",
        "Certificates", "How it was made", "Do it again",
    ]  # fmt: skip
    for text in (
        "keeps 90.8% (−0.3 points)",
        "2.40× as fast",
        "3.1e-06",
        "target.remains",
        "fashion-mnist",
        "34 min",
    ):
        assert text in outline.said
    assert sample().command in outline.said
    assert len(outline.ids) == len(set(outline.ids))


def test_another_measure_is_called_by_its_name_everywhere() -> None:
    known = full()
    html = page.render(replace(known, entries=[replace(entry, measure="Pearson") for entry in known.entries]))
    said = Outline(html).said
    assert "keeps 90.8% Pearson (−0.3 points)" in said
    assert "Pearson against MACs." in said
    assert "90.80% Pearson (−0.30 points)" in said
    assert len(re.findall("<th[^>]*>Pearson</th>", html)) == 2
    assert "Training curve: Pearson and loss" in html
    assert "ccuracy" not in html.replace(EVIL, "")
    assert "% right" not in html


def test_the_page_needs_nothing_from_outside() -> None:
    html = page.render(full())
    outline = Outline(html)
    assert not {"script", "link", "img", "iframe", "object", "image", "foreignobject"} & set(outline.tags)
    assert not {"src", "srcset", "onload", "onclick"} & outline.attributes
    assert "default-src 'none'" in html
    assert "@import" not in html
    outside = set(re.findall(r"https?://[^\"' ]+", html)) - {"http://www.w3.org/2000/svg"}
    assert not outside
    assert set(re.findall(r"href=\"(.)", html)) <= {"#"}


def test_hostile_strings_are_text_everywhere() -> None:
    entries = [
        Entry("dense", EVIL, None, 0.9, 10, 10, 10, timings(2, 2), {EVIL: 8}),
        greg(
            label=EVIL, method={EVIL: EVIL}, widths={EVIL: 4}, notes=(EVIL,), seconds={EVIL: 1.0},
            latency=timings(1, 1), certificate=evil_certificate(),
        ),
    ]  # fmt: skip
    points = [Point("greg1", EVIL, i, 1.0, 0.5) for i in range(3)]
    parted = replace(parting(groups=1), phases=[Phase(EVIL, 0), Phase(EVIL, 900)])
    parted = replace(parted, groups=[replace(parted.groups[0], group=EVIL)])
    evil = [replace(one, matrices={EVIL: next(iter(one.matrices.values()))}) for one in patterns().rounds]
    more = ([trace(EVIL, 8)], points, [parted], [Patterns("greg1", evil)])
    report = Report(EVIL, EVIL, EVIL, {EVIL: EVIL}, {EVIL: [EVIL]}, entries, *more)
    outline = Outline(page.render(report))
    assert not {"script", "b"} & set(outline.tags)
    assert "onload" not in outline.attributes
    assert outline.tags.count("figure") == 15
    assert outline.said.count("<script>alert(1)</script>") > 15


def evil_certificate() -> dict[str, Any]:
    words = {"name": EVIL, "against": EVIL, "kind": EVIL, "detail": EVIL}
    return {"holds": False, "checks": [{"worst": None, "tolerance": 1e-5, "holds": False} | words]}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (sample(entries=[], traces=[], curve=[]), 0),
        (sample(entries=[dense()], traces=[], curve=[]), 0),
        (sample(entries=[greg()], traces=[], curve=[]), 0),
        (sample(entries=[dense(), greg(accuracy=None)], traces=[], curve=[]), 3),
        (sample(entries=[dense(), greg(latency=())], traces=[], curve=[]), 4),
        (sample(entries=[dense(), greg(widths={})], traces=[], curve=[]), 5),
        (sample(traces=[], curve=[]), 7),
        (sample(entries=[greg(), greg(name="b")], traces=[], curve=[]), 4),
        (sample(entries=[dense(), greg(macs=0, widths={"stem": 1})], traces=[trace(units=1)], curve=[]), 8),
        (sample(traces=[Trace("dense", "g", [0], [0.0], [[0.0]], [])], curve=curve("dense", 0.9)[:1]), 7),
        (sample(traces=[], curve=[curve(name, 0.9)[0] for name in ("greg1", "ispasp")]), 7),  # two points, no line
        (sample(traces=[Trace("dense", "g", [], [], [], [])], curve=[]), 7),
        (sample(traces=[], curve=[], patterns=[patterns(sparsities=[0.9])]), 7 + 1),
        (sample(traces=[], curve=[], patterns=[patterns(sparsities=[0.0, 0.0])]), 7 + 2),
        (sample(traces=[], curve=[], patterns=[without_maps(patterns(sparsities=[0.5, 0.6]))]), 7 + 3),
    ],
)
def test_missing_data_leaves_its_figures_out(report: Report, expected: int) -> None:
    assert figures(page.render(report)) == expected


def test_an_empty_report_has_no_empty_sections() -> None:
    html = page.render(Report("", "", "", {}, {}, []))
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Before and after"]
    assert "Nothing has been measured yet." in html


def test_a_failed_certificate_is_loud() -> None:
    html = page.render(sample(entries=[dense(), greg(certificate=certificate(holds=False))], traces=[], curve=[]))
    assert '<section class="alarm" role="alert">' in html
    assert 'href="#certificate-1"' in html
    assert 'id="certificate-1"' in html
    assert html.count(">FAILS<") == 3  # before and after, the certificate's head, the check itself
    assert "output 7 of 10 differs" in html
    assert 'class="alarm"' not in page.render(sample())


def test_outputs_that_were_not_finite_are_said() -> None:
    made = certificate(holds=False)
    made["checks"][-1]["worst"] = None
    assert "<td>not finite</td>" in page.render(sample(entries=[dense(), greg(certificate=made)], traces=[], curve=[]))


def test_many_groups_and_traces() -> None:
    names = {f"encoder.layers.{i}.self_attention.output.dense": 64 + i for i in range(60)}
    after = {name: width // 2 for name, width in names.items()}
    report = sample(
        entries=[replace(dense(), widths=names), greg(widths=after)], curve=[],
        traces=[trace(f"group {i}", 4) for i in range(11)],
    )  # fmt: skip
    outline = Outline(page.render(report))
    assert outline.tags.count("figure") == 5 + 4 + 8
    assert "3 more groups are recorded in report.json" in outline.said
    for name, width in names.items():
        assert name.split(".self")[0] in outline.said
        assert f"{width} → {width // 2}" in outline.said


def networks(report: Report) -> list[pareto.Network]:
    return pareto.networks_of({"run": report})


def in_rounds() -> Report:
    """Two methods that take a half of what is left in each round, and one that is done in one."""
    falling = {"greg1": [0.9, 0.88, 0.86, 0.8], "ispasp": [0.9, 0.6, 0.5, 0.2], "magnitude": [0.7]}
    shares = [0.0, 0.5, 0.75, 0.875]
    scores = [
        Point(name, "prune", 100 * i, None, accuracy, shares[i])
        for name, found in falling.items()
        for i, accuracy in enumerate(found)
    ]
    return sample(curve=[*scores, Point("greg1", "finetune", 400, None, 0.91)])


def marks(svg: str, shade: str) -> list[tuple[float, float]]:
    """Where the line of a colour has its points, from left to right."""
    root = ElementTree.fromstring(svg)
    drawn = [use for use in root.findall(".//{*}use") if f"var(--{shade}" in use.get("style", "")]
    return sorted((float(use.attrib["x"]), float(use.attrib["y"])) for use in drawn)


def test_scores_of_rounds_are_drawn_to_scale_a_line_per_method() -> None:
    report = in_rounds()
    svg = plots.scores(report)
    greg, other = marks(svg, "pine"), marks(svg, "clay")
    steps = np.diff([x for x, _ in greg])
    assert steps == pytest.approx([steps[0]] * 3, rel=1e-3)  # the same share of what is left
    assert steps[0] > 30
    assert [x for x, _ in greg] == [x for x, _ in other]
    falls = [np.diff([y for _, y in line]) for line in (greg, other)]
    assert falls[0] / falls[0][0] == pytest.approx([1, 1, 3], rel=1e-2)
    assert falls[1] / falls[0][0] == pytest.approx([15, 5, 15], rel=1e-2)
    said = "".join(ElementTree.fromstring(svg).itertext())
    assert all(tick in said for tick in ("0%", "50%", "75%", "87.5%", "sparsity", "accuracy, %"))
    assert not marks(svg, "moss")  # of one round alone
    assert "Magnitude" not in said


def test_scores_stand_beside_the_training_curve_where_there_are_rounds() -> None:
    report = in_rounds()
    without = replace(report, curve=[replace(point, zeros=None) for point in report.curve])
    pages = [page.render(each) for each in (report, without)]
    assert figures(pages[0]) == figures(pages[1]) + 1
    assert "at the end of each round" in pages[0]
    assert "at the end of each round" not in pages[1]


def all_figures() -> dict[str, str]:
    report = sample()
    parts = {"norms", "ratios", "scores", "spreads"}
    drawn = {name: getattr(plots, name)(report) for name in plots.__all__ if name not in parts}
    drawn |= {"norms": plots.norms(trace()), "norms in phases": plots.norms(trace(), parting())}
    drawn |= {"scores": plots.scores(in_rounds())}
    drawn |= {"spreads": plots.spreads(parting()), "ratios": plots.ratios(parting())}
    drawn |= {f"front of {scale.name}": pareto.picture(networks(report), scale) for scale in pareto.scales(report)}
    drawn |= {"spreads of the picked": plots.spreads(parting(alike=False))}
    one, other = patterns(), patterns("ispasp", strength=1.5)
    runs = [Run("One", "pine", one), Run("Other", "clay", other)]
    drawn |= {"last round": heat.last_round(one), "frames": heat.frames(one)}
    drawn |= {"side by side": heat.side_by_side(runs, one.mapped, {name: name for name in one.mapped})}
    drawn |= {"frames side by side": heat.frames_side_by_side(runs, one.mapped[0])}
    for name in rounds.__all__:
        drawn |= {f"{name} of one": getattr(rounds, name)(runs[:1]), name: getattr(rounds, name)(runs)}
    return drawn


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return all_figures()


def test_figures_are_clean_svg(drawn: dict[str, str]) -> None:
    for name, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert root.attrib["role"] == ("group" if name.startswith("front") else "img")  # its points can be reached
        assert root.attrib["aria-label"]
        assert root.attrib["viewBox"].startswith("0 0 330 ")
        assert not {"width", "height"} & set(root.attrib), name
        assert root.findall(".//{*}text"), name
        assert "<style" not in svg, name
        assert "DejaVu" not in svg, name


def test_every_colour_follows_the_theme(drawn: dict[str, str]) -> None:
    known = {light: name for name, (light, _) in canvas.COLOURS.items()}
    assert len(known) == len(canvas.COLOURS)
    for name, svg in drawn.items():
        for rule in re.findall(r"(?:fill|stroke): ([^;\"]+)", svg):
            found = re.fullmatch(r"var\(--(\w+), (#\w{6})\)", rule)
            assert rule == "none" or (found and known[found[2]] == found[1]), (name, rule)


def test_figures_are_the_same_bytes_each_time(drawn: dict[str, str]) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert all_figures() == drawn
        assert matplotlib.rcParams["font.size"] == 30


def bars(svg: str, name: str) -> list[float]:
    """The lengths of all bars of one colour, in points."""
    paths = re.findall(rf'd="M 0 \S+ L (\S+) [^"]*" [^>]*style="fill: var\(--{name},', svg)
    return [float(length) for length in paths]


def test_widths_are_drawn_to_scale() -> None:
    report = sample(entries=[dense(), greg(widths=DENSE_WIDTHS | {"stem": 16, RESIDUAL: 48})], traces=[], curve=[])
    svg = plots.widths(report, ["stem", RESIDUAL])
    assert bars(svg, "pale") == [330, 330]
    assert bars(svg, "pine") == [330 / 4, 330 * 3 / 4]
    assert "64 → 16" in svg
    assert "64 → 48" in svg


def test_a_group_that_a_method_does_not_know_shows_no_width() -> None:
    svg = plots.widths(sample(entries=[dense(), greg(widths={"stem": 16})], traces=[], curve=[]))
    assert len(bars(svg, "pine")) == 1
    assert "→ ?" in svg


def test_promise_and_fact_are_drawn_to_scale() -> None:
    svg = plots.speedups(sample(entries=[dense(), greg()], traces=[], curve=[]))
    scale = (330 - 142) / 3
    assert bars(svg, "pale") == pytest.approx([3 * scale])
    assert bars(svg, "pine") == pytest.approx([1.6 * scale, 2.4 * scale], abs=1e-5)
    assert "3.00× promised by MACs" in svg
    assert "2.40× ONNX Runtime" in svg


def test_methods_keep_their_colour_when_some_are_missing() -> None:
    report = sample(entries=[dense(), greg(widths={}), greg(name="b", widths={"stem": 32})], traces=[], curve=[])
    assert not bars(plots.widths(report, ["stem"]), "pine")
    assert bars(plots.widths(report, ["stem"]), "clay") == [165]


def test_long_groups_are_thinned_evenly() -> None:
    norms = [[float(unit + 1) for unit in range(300)]] * 2
    shown = inside._shown_units(Trace("e", "g", [0, 1], [0, 1], norms, range(100)))
    assert len(shown) == 64
    assert sum(chosen for _, chosen in shown) == pytest.approx(64 / 3, abs=1)
    assert {unit for unit, _ in shown} >= {100, 99}  # the weakest that is kept, the strongest that goes
    assert all((unit < 100) == chosen for unit, chosen in shown)


def test_zero_norms_rest_on_the_floor() -> None:
    svg = plots.norms(Trace("e", "g", [0, 1], [0, 1], [[1.0, 1.0], [1.0, 0.0]], [1]))
    assert "≈ 0" in svg
    assert "1 kept" in svg
    assert "1 pushed out" in svg


def test_labels_do_not_cover_each_other() -> None:
    entries = [greg(name=f"m{i}", label=f"method {i}", accuracy=0.9 + i * 1e-4) for i in range(6)]
    report = sample(entries=[dense(), *entries], traces=[], curve=[])
    svg = pareto.picture(networks(report), pareto.scales(report)[2])
    svg = re.sub(r'<g class="tip".*?</g>', "", svg)
    wide = 46.0  # points, of "method 0"
    shift = {"start": 0.0, "middle": wide / 2, "end": wide}
    boxes = []
    for text in ElementTree.fromstring(svg).iterfind(".//{*}text"):
        if "method" in (text.text or ""):
            anchor = re.search(r"text-anchor: (\w+)", text.attrib["style"])
            left = float(text.attrib["x"]) - shift[anchor[1] if anchor else "start"]
            boxes.append((left, float(text.attrib["y"])))
    assert len(boxes) == 6
    for i, (x, y) in enumerate(boxes):
        assert all(abs(y - b) > 8 or abs(x - a) >= wide for a, b in boxes[:i]), boxes


def test_a_figure_for_each_runtime_with_two_networks() -> None:
    alone = (Latency("Lonely", 1, 1, 5.0, 5.0, 0.0, 9),)
    report = sample(entries=[dense(), greg(latency=timings(30, 12) + alone)], traces=[], curve=[])
    drawn = {scale.name: pareto.picture(networks(report), scale) for scale in pareto.scales(report)}
    assert [name for name, svg in drawn.items() if svg] == ["PyTorch", "ONNX Runtime", "MACs", "file size"]
    assert drawn["Lonely"] == ""
