"""From rows of a record to the report's records, by hand-made rows."""

from __future__ import annotations

from typing import Any

import niwaki as nk
from niwaki.recipes import facts
from niwaki.report import Phase

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
