"""Figures of all groups: every line is there, the scales are true, nothing is drawn of nothing, no text on text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from niwaki.report import GroupParting, Parting, Phase, page, parting, phrase, plots, stages
from niwaki.report.canvas import DEPTHS, WIDTH
from niwaki.report.thin import evenly
from tests.report.figures import curves, texts, words_lie_apart
from tests.report.sample import RESIDUAL, full, sample, trace
from tests.report.sample import parting as parted


def test_every_group_has_a_line_and_few_have_a_name() -> None:
    for svg in (plots.spreads(parted()), plots.ratios(parted())):
        # The last three spread most. The others are in five shades, two by two down the network.
        assert [len(curves(svg, colour)) for colour in ("clay", "slate", "plum")] == [1, 1, 1]
        assert [len(curves(svg, shade)) for shade in DEPTHS] == [2, 2, 2, 1, 0]
        said = texts(svg)
        assert phrase.clip(RESIDUAL, 46) in said
        assert "layer4.0.conv1" in said
        assert "layer3.1.conv1" not in said
        assert "7 other groups, from the first to the last" in said


def test_few_groups_are_all_named() -> None:
    said = texts(plots.spreads(parted(groups=2)))
    assert "stem" in said
    assert not [text for text in said if "other group" in text]
    assert "1 other group" in texts(plots.spreads(parted(groups=4)))


def test_two_methods_give_the_same_groups_the_same_colours() -> None:
    made = parted(groups=2)
    swapped = replace(
        made, groups=[replace(one, spread=made.groups[1 - i].spread) for i, one in enumerate(made.groups)]
    )
    colours = [[(line.data.group, line.colour) for line in parting._lines(one)] for one in (made, swapped)]
    assert colours[0] == colours[1]


def test_the_pick_parts_two_scales_of_the_penalty() -> None:
    svg = plots.spreads(parted(groups=1))
    (line,) = curves(svg, "clay")
    across = [x for x, _ in line]
    assert across == sorted(across)
    (start,) = {float(x) for x in re.findall(r'd="M (\S+) \S+ L \S+ \S+" [^>]*stroke-dasharray: 0\.7', svg)}
    low, high = start - 0.42 / 0.58 * (across[-1] - start), across[-1]
    # Before the pick, factors as long as they are large; after it the same on a scale of its own.
    (one,) = parted(groups=1).groups
    assert one.penalty[9] == parted().picked
    assert across[0] == pytest.approx(low + (start - low) * one.penalty[0] / one.penalty[9], abs=0.1)
    assert min(abs(x - (low + (high - low) * 0.42)) for x in across) < 0.1
    assert {"all units pressed", "picked ones pressed"} <= set(texts(svg))


def test_without_a_pick_there_is_one_scale() -> None:
    said = texts(plots.spreads(parted(alike=False)))
    assert "picked ones pressed" in said
    assert "all units pressed" not in said
    only = replace(parted(), groups=[replace(one, ratio=[None] * len(one.steps)) for one in parted().groups])
    assert "all units pressed" in texts(plots.spreads(only))
    assert "picked ones pressed" not in texts(plots.spreads(only))
    assert plots.ratios(only) == ""


def test_a_spread_that_hardly_changes_looks_so() -> None:
    calm = GroupParting("g", [0, 1, 2], [0.1, 0.2, 0.3], [0.0, 0.100, 0.101], [None] * 3)
    ((first, last),) = curves(plots.spreads(Parting("greg1", [], [calm])), "clay")
    assert 0 < first[1] - last[1] < 3
    assert first[0] > 60 + 240 / 3  # the first point, a spread of zero, is left out


def test_the_ratio_is_drawn_on_a_logarithmic_scale_with_the_bar() -> None:
    svg = plots.ratios(parted(groups=1))
    (line,) = curves(svg, "clay")
    # It grows by the same factor at each step: a straight line.
    slope = (line[-1][1] - line[0][1]) / (line[-1][0] - line[0][0])
    assert slope < 0
    assert all(y == pytest.approx(line[0][1] + slope * (x - line[0][0]), abs=0.05) for x, y in line)
    assert "parted enough" in texts(svg)
    assert "1,000" in texts(svg)
    assert "parted enough" not in texts(plots.ratios(parted(parted=None)))


def test_a_ratio_without_bounds_stays_in_the_figure() -> None:
    wild = GroupParting("g", [0, 1, 2], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [1.5, 0.0, 1e30])
    svg = plots.ratios(Parting("greg1", [Phase("press", 0)], [wild]))
    assert "100,000" in texts(svg)
    assert "1,000,000" not in texts(svg)


NOTHING = GroupParting("g", [], [], [], [])
ALONE = GroupParting("g", [0], [0.1], [0.2], [1.0])
FLAT = GroupParting("g", [0, 1], [0.1, 0.2], [0.0, 0.0], [None, None])


@pytest.mark.parametrize("groups", [[], [NOTHING], [ALONE], [FLAT]])
def test_where_there_is_nothing_to_draw_there_is_no_figure(groups: list[GroupParting]) -> None:
    made = Parting("greg1", [Phase("press", 0)], groups)
    assert plots.spreads(made) == plots.ratios(made) == ""
    html = page.render(sample(partings=[made]))
    assert "How the groups parted" not in html


def test_phases_are_named_in_the_figure_of_norms() -> None:
    assert not {"spread", "press", "hold"} & set(texts(plots.norms(trace())))
    svg = plots.norms(trace(), parted())
    assert {"spread", "press", "hold"} <= set(texts(svg))
    assert "cut" not in texts(svg)
    # Two boundaries, on two panels.
    assert len(re.findall("stroke-dasharray: 0.7", svg)) == 4
    (penalty,) = curves(svg, "ochre")
    recorded = max(x for line in curves(svg, "pine") for x, _ in line)
    assert penalty[-1][0] > recorded + 10, "the penalty is held to the end"
    assert penalty[-1][1] == penalty[-2][1]


SHORT = [Phase("spread", 0), Phase("press", 30), Phase("hold", 5590), Phase("cut", 5600)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.spreads(parted()),
        lambda: plots.spreads(parted(groups=60)),
        lambda: plots.ratios(parted()),
        lambda: plots.ratios(parted(groups=60, phases=SHORT)),
        lambda: plots.norms(trace(), parted()),
        lambda: plots.norms(trace(), parted(phases=SHORT)),
    ],
)
def test_no_text_lies_on_another_or_outside(draw: Callable[[], str]) -> None:
    words_lie_apart(draw(), WIDTH)


@pytest.mark.parametrize(
    ("centres", "widths", "expected"),
    [
        ([20, 50, 80], [10, 10, 10], [15, 45, 75]),
        ([1, 50, 99], [10, 10, 10], [0, 45, 90]),
        ([1, 5, 99], [10, 10, 10], [0, 15, 90]),
        ([90, 95, 99], [10, 10, 10], [60, 75, 90]),
        ([50, 50], [60, 60], []),
        ([], [], []),
    ],
)
def test_names_stand_apart_or_not_at_all(centres: list[float], widths: list[float], expected: Sequence[float]) -> None:
    assert stages.side_by_side(centres, widths, 0, 100, 5) == expected


def test_names_that_do_not_fit_leave_their_lines() -> None:
    many = [Phase(f"phase number {i}", 500 * i) for i in range(10)]
    svg = plots.ratios(parted(phases=many))
    assert not [text for text in texts(svg) if "phase number" in text]
    assert len(re.findall("stroke-dasharray: 0.7", svg)) == 9  # of ten, the first has none


def test_captions_say_what_was_measured() -> None:
    said = phrase.spreading(parted())
    assert said.startswith("Pressed all alike left of the dotted line")
    assert said.endswith("came to spread 2.00 times as much.")
    # Ten groups end at exp(5), exp(5.5), … exp(9.5): those above 1,000 are six.
    assert phrase.outweighing(parted()) == (
        "At the end a kept unit of a typical group outweighs a chosen one 1,452 times; 6 of 10 groups are past the "
        "dashed line, where a group needs no more pressing."
    )
    assert phrase.outweighing(parted(parted=None)).endswith("1,452 times.")
    assert "outweighs a chosen one more than a million times" in phrase.outweighing(parted(groups=60))
    assert "none of 10 groups is past" in phrase.outweighing(parted(parted=1e9))
    assert phrase.spreading(parted(alike=False)).startswith("Under the penalty, the norms")


def test_the_page_explains_the_first_phase_only_where_there_was_one() -> None:
    assert "pressed alike" in page.render(full())
    assert "pressed alike" not in page.render(sample(partings=[parted(alike=False)]))


def test_thinning_is_even_and_keeps_the_ends() -> None:
    assert evenly(range(5), 5) == [0, 1, 2, 3, 4]
    assert evenly(range(101), 3) == [0, 50, 100]
    assert evenly(range(9), 1) == [0]
