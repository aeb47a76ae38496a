"""Figures of patterns: every block is there in its shade, lines are true, captions say what was counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from niwaki.pattern import look
from niwaki.report import PatternRound, Patterns, heat, page, phrase, rounds
from niwaki.report.canvas import DEPTHS, WIDTH
from niwaki.report.patterns import Run
from tests.report.figures import boxes, curves, texts, words_lie_apart
from tests.report.sample import MATRICES, patterns, sample, without_maps

SHADE = {colour: i for i, (colour, _) in enumerate(heat.KEY)}


def told(*masks: Any) -> Patterns:
    """A run of one matrix, a round for each mask."""
    found = [look(np.asarray(mask)) for mask in masks]
    return Patterns("greg1", [PatternRound(i, p.sparsity, {"layer.weight": p}) for i, p in enumerate(found)])


def run(label: str = "IMP", colour: str = "pine", **more: Any) -> Run:
    return Run(label, colour, patterns(**more))


def named(*names: str) -> Patterns:
    """One round of matrices that are alike."""
    one = look(np.eye(4))
    return Patterns("e", [PatternRound(0, 0.75, dict.fromkeys(names, one))])


def grids(svg: str) -> list[list[list[int]]]:
    """The shades of all maps of a figure, read back from their paths."""
    places = ElementTree.fromstring(svg).iterfind(".//{*}g")
    return [_grid(place) for place in places if place.find("{*}rect") is not None]


def _grid(place: ElementTree.Element) -> list[list[int]]:
    rect, blocks = place.find("{*}rect"), place.find("{*}g")
    assert rect is not None
    assert blocks is not None
    scale = re.search(r"scale\((\S+) (\S+)\)", blocks.attrib["transform"])
    assert scale is not None
    wide, high = (round(float(rect.attrib["width"]) / float(one)) for one in scale.groups())
    shades = [[0] * wide for _ in range(high)]
    for path in blocks.iterfind("{*}path"):
        (colour,) = re.findall(r"stroke: var\(--(\w+),", path.attrib["style"])
        for x, y in _drawn_over(path.attrib["d"]):
            assert shades[y][x] == 0, "a block is drawn twice"
            shades[y][x] = SHADE[colour]
    return shades


def _drawn_over(path: str) -> list[tuple[int, int]]:
    x = y = 0
    found = []
    for kind, first, second in re.findall(r"([Mmh])(-?\d+)(?: (-?\d+))?", path):
        if kind == "h":
            found += [(x + i, y) for i in range(int(first))]
            x += int(first)
        else:
            x, y = (int(first), int(second)) if kind == "M" else (x + int(first), y + int(second))
    return found


# -- maps ------------------------------------------------------------------------------------------------------


def test_shades_by_hand() -> None:
    # Blocks of 1 × 10 in a matrix of 48 × 480 with 2,304 survivors: 1 of 10 on average, so that n of 10 is n times it.
    counts = np.ones((48, 48), dtype=int)
    counts[0, :8] = [0, 0, 2, 3, 1, 0, 2, 0]
    mask = (np.arange(10) < counts[:, :, None]).reshape(48, 480)
    (grid,) = grids(heat.last_round(told(mask)))
    assert grid[0][:9] == [0, 0, 4, 5, 3, 0, 4, 0, 3]
    assert {shade for row in grid[1:] for shade in row} == {3}


@pytest.mark.parametrize(
    ("alive", "shade"), [(0, 0), (39, 1), (40, 2), (79, 2), (80, 3), (124, 3), (125, 4), (249, 4), (250, 5)]
)
def test_borders_between_shades(alive: int, shade: int) -> None:
    """The last rows make up for what the first one's blocks have more or less than 100 of 1,000, the average."""
    counts = [alive] + [100] * 46 + [200 - alive] if alive <= 200 else [alive] + [100] * 45 + [25, 25]
    blocks = np.zeros((48, 48000), dtype=bool)
    for row, count in zip(blocks, counts, strict=True):
        row.reshape(48, 1000)[:, :count] = True  # every block of the row alike
    (grid,) = grids(heat.last_round(told(blocks)))
    assert set(grid[0]) == {shade}


def test_every_block_of_a_map_has_its_shade() -> None:
    found = patterns().last
    maps = dict(zip(found.matrices, grids(heat.last_round(patterns())), strict=True))
    for name, pattern in found.matrices.items():
        for blocks, capacity, shades in zip(pattern.blocks, pattern.capacity, maps[name], strict=True):
            for alive, of, shade in zip(blocks, capacity, shades, strict=True):
                times = Fraction(alive * pattern.weights, of * pattern.survivors)
                borders = (Fraction(2, 5), Fraction(4, 5), Fraction(5, 4), Fraction(5, 2))
                expected = 0 if not alive else 1 + sum(times >= border for border in borders)
                assert shade == expected


def test_a_dense_matrix_and_an_empty_one_are_even() -> None:
    assert {shade for row in grids(heat.last_round(told(np.ones((60, 70)))))[0] for shade in row} == {3}
    empty = heat.last_round(told(np.zeros((60, 70))))
    assert "<path" not in empty
    assert "Gini 0.00 · 0.00" in texts(empty)


def test_small_maps_take_neighbours_together() -> None:
    mask = np.zeros((96, 96), dtype=bool)
    mask[::2, ::2] = True
    mask[:4, :4] = True  # the first block of the coarser map: 16 of 16, four times the others
    film = heat.frames(told(mask, mask))
    assert [len(grid) for grid in grids(film)] == [24, 24]
    assert grids(film)[0][0][:3] == [5, 3, 3]
    assert [len(grid) for grid in grids(heat.last_round(told(mask)))] == [48]
    assert heat._coarser([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 2) == [[12, 9], [15, 9]]


def test_at_most_twelve_matrices_are_mapped_evenly() -> None:
    many = named(*(f"h.{i}.weight" for i in range(30)))
    svg = heat.last_round(many)
    assert len(grids(svg)) == 12
    assert [text for text in texts(svg) if text.isdigit()][:3] == ["0", "3", "5"]
    assert heat.last_round(without_maps(many)) == ""
    assert len(grids(heat.last_round(without_maps(many, "h.0.weight")))) == 12


def test_few_matrices_are_shown_over_six_rounds() -> None:
    long = patterns(sparsities=[i / 10 for i in range(9)])
    film = grids(heat.frames(long))
    assert len(film) == 3 * 6
    said = texts(heat.frames(long))
    assert [text for text in said if text.endswith("%")] == ["0%", "20%", "30%", "50%", "60%", "80%"] * 3
    assert [text for text in said if "dense" in text or "query" in text] == [
        "0.attention.self.query", "0.output.dense", "1.output.dense"
    ]  # fmt: skip
    assert heat.frames(patterns(sparsities=[0.9])) == ""
    assert heat.frames(without_maps(long)) == ""


def test_two_runs_stand_side_by_side() -> None:
    one, other = run(), run("SPUR", "clay", strength=1.5)
    name = one.patterns.names[1]
    ends = [made.patterns.last.matrices[name] for made in (one, other)]
    svg = heat.side_by_side([one, other], [name], {name: "title"})
    assert texts(svg) == [
        "IMP, 95%", "SPUR, 95%", "title", *(f"Gini {p.gini_rows:.2f} · {p.gini_columns:.2f}" for p in ends),
    ]  # fmt: skip
    left, right = grids(svg)
    assert [left] == grids(heat.side_by_side([one], [name], {name: ""}))
    assert [right] == grids(heat.side_by_side([other], [name], {name: ""}))
    assert left != right
    film = heat.frames_side_by_side([one, other], name)
    assert len(grids(film)) == 12
    assert [text for text in texts(film) if "%" not in text] == ["IMP", "SPUR"]
    assert heat.side_by_side([one, other], [], {}) == ""
    rows = texts(heat.side_by_side([one, other], one.patterns.names[:3], NAMES))
    assert (rows.count("IMP, 95%"), rows.count("title")) == (1, 3)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a.0.q.weight", "a.0.k.weight", "a.1.q.weight"], ["0.q", "0.k", "1.q"]),
        (["a.b.weight"], ["a.b"]),
        (["weight"], ["weight"]),
        (["a.x.weight", "a.y.bias"], ["x.weight", "y.bias"]),
        (["0.weight", "10.weight"], ["0", "10"]),
        (["a.w", "b.c.w"], ["a", "b.c"]),
        (["a.w", "a.b.w"], ["w", "b.w"]),
        (["same", "same.more"], ["same", "same.more"]),
        ([], []),
    ],
)
def test_names_lose_what_they_have_in_common(names: list[str], short: list[str]) -> None:
    assert list(heat.shortened(names).values()) == short


def test_full_names_are_told_where_the_pointer_rests() -> None:
    titles = [t.text for t in ElementTree.fromstring(heat.last_round(patterns())).iterfind(".//{*}title")]
    assert titles[1] == "encoder.layer.0.intermediate.dense.weight, 160 × 64: 95% zeros"
    assert len(titles) == 2 * len(MATRICES)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: heat.last_round(patterns()),
        lambda: heat.last_round(named(*(f"m.encoder.{i}.a.very.long.name.of.a.layer.inside.{i}.w" for i in range(9)))),
        lambda: heat.last_round(named(*(f"name{i}withoutanyplacewhereitcouldbebroken" * 3 for i in range(9)))),
        lambda: heat.frames(patterns()),
        lambda: heat.side_by_side([run(), run("A long name of a run (of the folder b)")], patterns().names[:3], NAMES),
        lambda: rounds.ginis([run()]),
        lambda: rounds.spreads([run(), run("SPUR", "clay", strength=1.5)]),
        lambda: rounds.empties([run(sparsities=[i / 40 for i in range(40)])]),
        lambda: rounds.ginis([run(sparsities=[0.5, 0.501, 0.502, 0.9, 0.95, 0.98, 0.99])]),
    ],
)  # fmt: skip
def test_no_text_lies_on_another_or_outside(draw: Callable[[], str]) -> None:
    words_lie_apart(draw(), WIDTH)


NAMES = dict.fromkeys(patterns().names, "title")
LONG = [f"encoder.layer.{i}.attention.output.projection.dense" for i in range(9)]


@pytest.mark.parametrize(
    "svg",
    [
        heat.last_round(patterns()),
        heat.last_round(named(*LONG)),
        heat.frames(patterns()),
        heat.side_by_side([run(), run("A long name (of the folder b)")], patterns().names[:3], NAMES),
    ],
)
def test_no_text_lies_on_a_map_or_above_and_below_the_figure(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    high = float(root.attrib["viewBox"].split()[-1])
    maps = [{k: float(v) for k, v in rect.attrib.items() if k != "style"} for rect in root.iterfind(".//{*}rect")]
    for left, top, right, bottom, said in boxes(svg):
        assert -1 < top < bottom < high, said
        for at in maps:
            beside = right < at["x"] or at["x"] + at["width"] < left
            assert beside or bottom < at["y"] or at["y"] + at["height"] < top, said


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("short", ["short"]),
        ("0.attention.self.query", ["0.attention.", "self.query"]),
        ("GReg-1 of the folder", ["GReg-1 of ", "the folder"]),
        ("a.name.that.is.much.too.long", ["a.name.that.", "is.muc…o.long"]),
        ("nowheretobreak", ["nowher…obreak"]),
    ],
)
def test_long_names_are_broken_once(name: str, lines: list[str]) -> None:
    assert heat._broken(name, 13) == lines


# -- lines over the rounds -------------------------------------------------------------------------------------


def heights(line: list[tuple[float, float]], values: list[float]) -> None:
    """The corners of a line are at these values: equal steps are equally high, and more is higher."""
    scale = (line[-1][1] - line[0][1]) / (values[-1] - values[0])
    assert scale < 0
    assert [y - line[0][1] for _, y in line] == pytest.approx([scale * (v - values[0]) for v in values], abs=0.02)


@pytest.mark.parametrize("what", ["gini", "spread", "empty"])
def test_the_mean_of_all_matrices_is_drawn_to_scale(what: str) -> None:
    made = run(strength=1.5)
    svg = {"gini": rounds.ginis, "spread": rounds.spreads, "empty": rounds.empties}[what]([made])
    ends = [one.together for one in made.patterns.rounds]
    for line, axis in zip(curves(svg, "pine"), ("rows", "columns"), strict=True):
        heights(line, [getattr(found, f"{what}_{axis}") for found in ends])


def test_empty_rows_and_columns_are_told_in_per_cent_of_their_own_number() -> None:
    mask = np.ones((4, 8))
    mask[2:], mask[:, 2:] = 0, 0  # 2 of 4 rows and 6 of 8 columns
    made = told(np.ones((4, 8)), mask)
    assert [rounds._of_matrix(made.last.matrices["layer.weight"], f"empty_{axis}") for axis in ("rows", "columns")] == [
        50,
        75,
    ]
    svg = rounds.empties([Run("a", "clay", made)])
    shade = next(shade for shade in DEPTHS if curves(svg, shade))
    assert curves(svg, "clay") == curves(svg, shade)  # one matrix is all of them
    assert "60" in texts(svg)
    assert "80" not in texts(svg)


def test_each_matrix_has_a_line_in_the_shade_of_its_depth() -> None:
    svg = rounds.ginis([run(layers=5)])
    assert [len(curves(svg, shade)) for shade in DEPTHS] == [6] * 5  # 15 matrices, for rows and for columns
    assert {"all matrices together", "each matrix, from the first to the last"} <= set(texts(svg))
    matrices = [one.matrices["encoder.layer.0.attention.self.query.weight"] for one in run(layers=5).patterns.rounds]
    heights(curves(svg, DEPTHS[0])[0], [p.gini_rows for p in matrices])
    empty = rounds.empties([run(layers=5)])
    heights(curves(empty, DEPTHS[0])[0], [p.empty_rows for p in matrices])


def test_several_runs_have_their_means_alone() -> None:
    svg = rounds.ginis([run(), run("SPUR", "clay", strength=1.5)])
    assert not [shade for shade in DEPTHS if curves(svg, shade)]
    assert [len(curves(svg, colour)) for colour in ("pine", "clay")] == [2, 2]
    assert {"IMP", "SPUR"} <= set(texts(svg))
    imp, spur = (curves(svg, colour)[0] for colour in ("pine", "clay"))
    assert all(b[1] < a[1] for a, b in list(zip(imp, spur, strict=True))[1:])  # higher on the page


def test_chance_is_dashed() -> None:
    svg = rounds.ginis([run()])
    lines = re.findall(r'd="([^"]+)" [^>]*style="fill: none; stroke-dasharray: [^"]*stroke: var\(--soft,', svg)
    assert len(lines) == 2
    line = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", lines[0])]
    heights(line, [one.together.gini_rows_by_chance for one in run().patterns.rounds])
    assert "stroke-dasharray: 4" not in rounds.empties([run()])


def test_places_along_the_axis_are_the_logarithm_of_what_survives() -> None:
    svg = rounds.ginis([run(sparsities=[0.0, 0.5, 0.75, 0.875])])
    for line in curves(svg, "pine"):
        steps = [b[0] - a[0] for a, b in pairwise(line)]
        assert steps == pytest.approx([steps[0]] * 3, rel=1e-3)
    assert [text for text in texts(svg) if text.endswith("%")] == ["87.5%", "75%", "50%", "0%"]


@pytest.mark.parametrize(
    "masks",
    [
        [np.eye(4)],
        [np.ones((4, 4)), np.ones((4, 4))],
    ],
)
def test_nothing_is_drawn_of_nothing(masks: list[Any]) -> None:
    made = [Run("a", "pine", told(*masks))]
    assert [draw(made) for draw in (rounds.ginis, rounds.spreads, rounds.empties)] == ["", "", ""]
    assert rounds.ginis([]) == ""


def test_runs_that_end_with_nothing_or_stay_where_they_are_can_be_drawn() -> None:
    corner = np.zeros((4, 4))
    corner[0, 0] = 1
    svg = rounds.ginis([Run("a", "pine", told(np.ones((4, 4)), corner, np.zeros((4, 4))))])
    assert [text for text in texts(svg) if text.endswith("%")] == ["100%", "93.8%", "0%"]
    still = rounds.ginis([Run("a", "pine", told(corner, np.fliplr(corner), corner))])
    assert [text for text in texts(still) if text.endswith("%")] == ["93.8%"]


def test_a_matrix_that_comes_later_has_a_shorter_line() -> None:
    made = patterns(layers=1)
    first = replace(made.rounds[0], matrices=dict(list(made.rounds[0].matrices.items())[:2]))
    svg = rounds.ginis([Run("a", "pine", Patterns("e", [first, *made.rounds[1:]]))])
    lengths = sorted(len(line) for shade in DEPTHS for line in curves(svg, shade))
    assert lengths == [5, 5, 6, 6, 6, 6]


# -- words -----------------------------------------------------------------------------------------------------


def test_captions_say_what_was_counted() -> None:
    mask = np.zeros((4, 8))
    mask[0, :] = 1
    assert phrase.concentrated(told(mask)) == (
        "At 75% sparsity the counts of rows have a mean Gini coefficient of 0.75, those of columns 0.00 (of a random "
        "mask: 0.34 and 0.46); 75.0% of the rows and 0.0% of the columns are empty."
    )
    assert phrase.concentrated(told(np.ones((4, 8)))).endswith("; no row and no column is empty.")


def test_runs_are_told_in_one_sentence() -> None:
    row, eye = np.zeros((4, 4)), np.eye(4)
    row[0] = 1
    runs = [Run("A", "pine", told(row)), Run("B", "clay", told(eye))]
    assert phrase.beside(runs) == (
        "At 75% sparsity the surviving weights per row and per column have Gini coefficients of 0.75 and 0.00 in A "
        "and 0.00 and 0.00 in B."
    )
    row[1, 0] = 1
    runs[0] = Run("A", "pine", told(row))
    assert phrase.beside(runs).endswith("of 0.65 and 0.15 in A at 68.8% and 0.00 and 0.00 in B at 75%.")
    assert phrase.beside(runs).startswith("The surviving weights")


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0%"), (0.5, "50%"), (2 / 3, "66.7%"), (0.95001, "95%"), (0.9995, "99.95%"), (1 - 1e-9, ">99.99%"),
        (1.0, "100%"),
    ],
)  # fmt: skip
def test_sparsity_in_words(share: float, said: str) -> None:
    assert phrase.sparsity(share) == said


def test_each_entry_has_its_maps_and_all_share_the_lines() -> None:
    html = page.render(sample(patterns=[patterns(), patterns("ispasp", strength=1.5)], traces=[], curve=[]))
    section = html[html.index("Where the surviving weights are") : html.index("Certificates")]
    assert section.count("<figure>") == 2 * 2 + 3
    assert section.count("<figcaption>GReg-1. ") == section.count("<figcaption>i-SpaSP. ") == 2
    lines = section[section.rindex("Empty rows and columns") :]
    assert "GReg-1" in lines
    assert "var(--pine," in lines
    assert "var(--clay," in lines
