"""From rows of a record to the report's records, by hand-made rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import niwaki as nk
from niwaki.pattern import look
from niwaki.recipes import Recipe, facts
from niwaki.report import Entry, Phase, ReportError
from niwaki.report.phrase import outweighing
from tests.recipes.kitchen import project

GREG2 = nk.methods.greg2(nk.Ratio(0.5), parted=50.0)


def row(step: int, group: str = "a", **more: Any) -> dict[str, Any]:
    return {"event": "press", "step": step, "group": group, "penalty": step / 10, "spread": 0.5, "norms": [1.0], **more}


def record(before: int, after: int, groups: int = 1) -> list[dict[str, Any]]:
    """So many rows per group before the pick and after it."""
    names = [f"g{i}" for i in range(groups)]
    rows: list[dict[str, Any]] = [{"event": "phase", "phase": "spread", "step": 0}]
    rows += [row(step, name) for step in range(before) for name in names]
    rows += [{"event": "choose", "chosen": {name: [0] for name in names}, "step": before}]
    rows += [{"event": "phase", "phase": "press", "step": before}]
    steps = range(before, before + after)
    rows += [row(step, name, ratio=1.0 + step, done=False) for step in steps for name in names]
    rows += [{"event": "phase", "phase": "hold", "step": before + after}]
    rows += [{"event": "epoch", "phase": "prune", "images": 9, "loss": 1.0}]
    return [*rows, {"event": "cut", "plan": "x", "step": before + after + 5}]


def test_partings_hold_what_the_rows_say() -> None:
    (made,) = facts.partings("m", record(2, 3, groups=2), GREG2)
    assert made.entry == "m"
    assert made.parted == 50.0
    assert made.phases == (Phase("spread", 0), Phase("press", 2), Phase("hold", 5), Phase("cut", 10))
    assert [one.group for one in made.groups] == ["g0", "g1"]
    one = made.groups[0]
    assert one.steps == (0, 1, 2, 3, 4)
    assert one.penalty == (0.0, 0.1, 0.2, 0.3, 0.4)
    assert one.spread == (0.5,) * 5
    assert one.ratio == (None, None, 3.0, 4.0, 5.0)
    assert one.at_cut is None  # a record from before told none


def test_the_ratio_shown_is_that_of_the_moment_and_at_last_that_at_the_cut() -> None:
    rows = [row(0, "a", ratio=1.5, now=2.5), row(1, "a", ratio=1.6, now=4.0), row(1, "b", ratio=1.1, now=1.2)]
    before = {"event": "cut", "plan": "w", "step": 0, "parted": {"a": 2.0, "b": 2.0}}  # of a run in several rounds
    cut = {"event": "cut", "plan": "x", "step": 9, "parted": {"a": 16.123456, "b": None}}
    after = {"event": "cut", "plan": "y", "step": 11, "parted": {"c": 3.0}}  # of other groups
    (made,) = facts.partings("m", [before, *rows, cut, after], GREG2)
    assert [(one.ratio, one.at_cut) for one in made.groups] == [((2.5, 4.0), 16.123), ((1.2,), None)]
    assert outweighing(made).startswith("At the end a kept unit of a typical group outweighs a chosen one 8.66 times")


def test_a_long_record_is_thinned_on_both_sides_of_the_pick() -> None:
    (made,) = facts.partings("m", record(1000, 9000), GREG2)
    one = made.groups[0]
    assert len(one.steps) == 90
    assert sum(ratio is None for ratio in one.ratio) == 45
    assert [one.steps[i] for i in (0, 44, 45, 89)] == [0, 999, 1000, 9999]
    assert made.picked == 99.9


def test_many_groups_share_the_points() -> None:
    (made,) = facts.partings("m", record(0, 40, groups=300), GREG2)
    assert {len(one.steps) for one in made.groups} == {20}
    (made,) = facts.partings("m", record(4, 0, groups=6001), GREG2)
    assert {len(one.steps) for one in made.groups} == {2}


def test_a_method_that_presses_nothing_has_no_parting() -> None:
    rows = [{"event": "choose", "chosen": {}, "step": 0}, {"event": "epoch", "phase": "prune", "images": 1}]
    assert facts.partings("m", rows, nk.methods.magnitude(nk.Ratio(0.5))) == []


def test_the_bar_is_told_only_where_there_is_one() -> None:
    free = nk.methods.greg1(nk.Ratio(0.5), parted=None)
    assert facts.partings("m", record(0, 2), free)[0].parted is None
    assert facts.partings("m", record(0, 2), nk.methods.greg1(nk.Ratio(0.5)))[0].parted == 1000.0


def test_numbers_are_as_long_as_a_picture_needs() -> None:
    rows = [row(0, spread=1 / 3, ratio=2e6 / 3), row(1, spread=0.0, ratio=1e30)]
    (made,) = facts.partings("m", rows, GREG2)
    assert made.groups[0].spread == (0.33333, 0.0)
    assert made.groups[0].ratio == (666670.0, 1e30)


NAMES = [f"layer.{i}" for i in range(30)]


def pattern_rows(rounds: int, names: list[str] = NAMES) -> list[dict[str, Any]]:
    """Masks that lose a row per round, between rows of other events."""
    rows: list[dict[str, Any]] = [{"event": "phase", "phase": "wait", "step": 0}]
    for i in range(rounds):
        mask = torch.arange(100).reshape(10, 10) >= 10 * min(i, 9)
        told = dict.fromkeys(names, look(mask).to_json())
        rows += [{"event": "pattern", "step": 5 * i, "sparsity": min(i, 9) / 10, "matrices": told, "more": "not read"}]
        rows += [{"event": "epoch", "phase": "prune", "images": 9, "loss": 1.0}]
    return rows


def maps(one: Any) -> list[str]:
    return [name for name, pattern in one.matrices.items() if pattern.blocks]


def test_patterns_hold_what_the_rows_say() -> None:
    rows = json.loads(json.dumps(pattern_rows(3, ["a", "b"])))
    (told,) = facts.patterns("m", rows)
    assert told.entry == "m"
    assert [(one.step, one.sparsity) for one in told.rounds] == [(0, 0.0), (5, 0.1), (10, 0.2)]
    assert [one.to_json() for one in told.rounds[2].matrices.values()] == list(rows[5]["matrices"].values())
    assert [maps(one) for one in told.rounds] == [["a", "b"]] * 3


def test_heat_maps_are_kept_of_the_matrices_that_a_page_shows() -> None:
    (told,) = facts.patterns("m", pattern_rows(9))
    assert len(told.rounds) == 9
    assert maps(told.last)[:2] == ["layer.0", "layer.3"]
    assert [len(maps(one)) for one in told.rounds] == [3, 0, 3, 3, 0, 3, 3, 0, 12]  # six rounds; the last has twelve
    assert maps(told.rounds[0]) == ["layer.0", "layer.16", "layer.29"]
    assert set(maps(told.rounds[0])) < set(maps(told.last))
    assert {len(one.matrices) for one in told.rounds} == {30}


def test_many_rounds_are_thinned() -> None:
    rows = pattern_rows(100, ["a"])
    (told,) = facts.patterns("m", rows)
    assert len(told.rounds) == 60
    assert (told.rounds[0].step, told.last.step) == (0, 495)
    (many,) = facts.patterns("m", pattern_rows(80, [f"n{i}" for i in range(100)]))
    assert len(many.rounds) == 20
    (most,) = facts.patterns("m", pattern_rows(7, [f"n{i}" for i in range(500)]))
    assert len(most.rounds) == 6


def test_a_run_that_masks_no_single_weights_has_no_patterns() -> None:
    assert facts.patterns("m", record(2, 2)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": None}, r"recorded at step None: step must be an integer"),
        ({"sparsity": 1.2}, r"recorded at step 5: sparsity must be a share between 0 and 1, not 1\.2"),
        ({"matrices": {}}, "recorded at step 5: matrices at step 5: a round needs the pattern of one matrix"),
        ({"matrices": {"a": {"rows": 1}}}, r"recorded at step 5: matrices\.a: missing key 'columns'"),
        ({"matrices": {"a": None}}, r"recorded at step 5: matrices\.a must be a dict, not NoneType"),
    ],
)
def test_broken_rows_are_named(change: dict[str, Any], message: str) -> None:
    rows = pattern_rows(2, ["a"])
    rows[3] |= change
    with pytest.raises(ReportError, match=message):
        facts.patterns("m", rows)
    del rows[3]["matrices"]
    with pytest.raises(ReportError, match=r"missing key 'matrices'"):
        facts.patterns("m", rows)


def test_the_report_carries_the_patterns(tmp_path: Path) -> None:
    recipe = Recipe.load(project(tmp_path)[0])
    told = facts.patterns("m", pattern_rows(2, ["a"]))
    entries = [Entry("m", "M", None, None, 1, 1, 1)]
    assert facts.report(recipe, "t", "c", entries, [], [], patterned=told).patterns == tuple(told)
    assert facts.report(recipe, "t", "c", entries, [], []).patterns == ()
