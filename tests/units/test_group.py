"""Groups by hand: which choices are legal, and what goes with them."""

from __future__ import annotations

import numpy as np
import pytest

from niwaki.errors import IllegalPlan
from niwaki.units import Axis, Entries, Group, Member


def group(*, parts: tuple[list[int], ...] = (), makers: bool = True) -> Group:
    """Four units: each one row of a, and two columns of b (unit i holds i and i + 4)."""
    rows = Entries(np.arange(4), np.arange(4))
    columns = Entries(np.tile(np.arange(4), 2), np.arange(8))
    return Group(
        "a",
        "channel",
        4,
        (Member("a.weight", 0, "makes" if makers else "follows"), Member("b.weight", 1, "takes")),
        {Axis("a.weight", 0): rows, Axis("b.weight", 1): columns},
        tuple(np.array(p) for p in parts),
    )


def test_what_goes_with_a_choice() -> None:
    gone = group().removes(np.array([1, 3]))
    assert {str(a): p.tolist() for a, p in gone.items()} == {"a.weight[0]": [1, 3], "b.weight[1]": [1, 3, 5, 7]}


def test_makers_or_else_all_members() -> None:
    assert [m.name for m in group().makers] == ["a.weight"]
    assert [m.name for m in group(makers=False).makers] == ["a.weight", "b.weight"]


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ([4], "has units 0 to 3, asked to remove"),
        ([-1], "has units 0 to 3, asked to remove"),
        ([0, 1, 2, 3], "removing all 4 units would leave the layer empty"),
    ],
)
def test_illegal_choices(chosen: list[int], text: str) -> None:
    with pytest.raises(IllegalPlan, match=text):
        group().check(np.array(chosen))


def test_a_balance_takes_as_many_from_each_part() -> None:
    balanced = group(parts=([0, 0, 1, 1],))
    balanced.check(np.array([0, 3]))
    balanced.check(np.empty(0, int))
    with pytest.raises(IllegalPlan, match=r"balanced over 2 parts .* but the choice takes \[1, 0\]"):
        balanced.check(np.array([0]))
    with pytest.raises(IllegalPlan, match=r"takes \[0, 2\]"):
        balanced.check(np.array([2, 3]))


def test_units_of_no_part_are_free() -> None:
    free = group(parts=([0, 1, -1, -1],))
    free.check(np.array([2]))
    free.check(np.array([0, 1, 3]))
    with pytest.raises(IllegalPlan):
        free.check(np.array([1, 2]))


def test_a_group_in_one_line() -> None:
    assert str(group()) == "a: 4 × channel"
    assert str(group(parts=([0, 0, 1, 1],))) == "a: 4 × channel, balanced over 2 parts"
    assert group(parts=([0, 0, 1, 1],)).part_count == 2
    assert [str(m) for m in group().members] == ["makes a.weight[0]", "takes b.weight[1]"]


def test_entries_cannot_be_exchanged() -> None:
    with pytest.raises(TypeError):
        group().entries[Axis("a.weight", 0)] = Entries(np.arange(4), np.arange(4))  # type: ignore[index]
