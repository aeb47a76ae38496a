"""Groups by hand: which choices are legal, and what goes with them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import pytest

from niwaki.errors import IllegalPlan
from niwaki.surgery.ladders import ladder
from niwaki.units import Axis, Entries, Group, Member, Parts


def balance(*of: int, weight: list[int] | None = None) -> Parts:
    """The part of each unit; every unit weighs one unless it is said otherwise."""
    return Parts(np.array(of), np.array(weight or [int(p >= 0) for p in of]))


def group(*, parts: tuple[Parts, ...] = (), makers: bool = True, least: int = 1, multiple: int = 1) -> Group:
    """Four units: each one row of a, and two columns of b (unit i holds i and i + 4)."""
    rows = Entries(np.arange(4), np.arange(4))
    columns = Entries(np.tile(np.arange(4), 2), np.arange(8))
    return Group(
        "a",
        "channel",
        4,
        (Member("a.weight", 0, "makes" if makers else "follows"), Member("b.weight", 1, "takes")),
        {Axis("a.weight", 0): rows, Axis("b.weight", 1): columns},
        parts,
        least=least,
        multiple=multiple,
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
    balanced = group(parts=(balance(0, 0, 1, 1),))
    balanced.check(np.array([0, 3]))
    balanced.check(np.empty(0, int))
    with pytest.raises(IllegalPlan, match=r"balanced over 2 parts .* but the choice takes \[1, 0\]"):
        balanced.check(np.array([0]))
    with pytest.raises(IllegalPlan, match=r"takes \[0, 2\]"):
        balanced.check(np.array([2, 3]))


def test_units_of_no_part_are_free() -> None:
    free = group(parts=(balance(0, 1, -1, -1),))
    free.check(np.array([2]))
    free.check(np.array([0, 1, 3]))
    with pytest.raises(IllegalPlan):
        free.check(np.array([1, 2]))


def test_weight_is_what_must_be_equal_and_not_the_number_of_units() -> None:
    """Units 0 and 1 hold one position each of part 0, unit 2 holds two of part 1, unit 3 none: {0, 1, 2} is even."""
    uneven = group(parts=(balance(0, 0, 1, -1, weight=[1, 1, 2, 0]),))
    assert uneven.parts[0].taken(np.array([0, 1, 2])).tolist() == [2, 2]
    assert uneven.parts[0].taken(np.array([0, 2, 3])).tolist() == [1, 2]
    assert uneven.parts[0].taken(np.array([3])).tolist() == [0, 0]
    uneven.check(np.array([0, 1, 2]))
    with pytest.raises(IllegalPlan, match=r"takes \[1, 2\]"):
        uneven.check(np.array([0, 2]))


def test_every_balance_of_a_group_counts() -> None:
    """Rows in halves, and columns in even and odd: 0 and 3 is even in both, 0 and 2 in the first alone."""
    both = group(parts=(balance(0, 0, 1, 1), balance(0, 1, 0, 1)))
    both.check(np.array([0, 3]))
    with pytest.raises(IllegalPlan, match=r"takes \[2, 0\]"):
        both.check(np.array([0, 2]))
    with pytest.raises(IllegalPlan, match=r"takes \[2, 0\]"):
        both.check(np.array([0, 1]))


@pytest.mark.parametrize(("of", "parts"), [((0, 0, 1, 1), 2), ((0, 1, 2, 3), 4), ((1, 0, -1, -1), 2)])
def test_a_balance_knows_its_parts(of: tuple[int, ...], parts: int) -> None:
    assert len(balance(*of)) == parts


@pytest.mark.parametrize(
    ("least", "gone", "message"),
    [
        (1, (0, 1, 2), None),
        (2, (0, 1), None),
        (2, (0, 1, 2), r"2 of the 4 units must stay, asked to remove 3"),
        (4, (0,), r"4 of the 4 units must stay, asked to remove 1"),
        (4, (), None),
    ],
)
def test_so_many_units_must_stay(least: int, gone: tuple[int, ...], message: str | None) -> None:
    chosen = np.array(gone, dtype=int)
    if message is None:
        group(least=least).check(chosen)
    else:
        with pytest.raises(IllegalPlan, match=message):
            group(least=least).check(chosen)


def test_a_multiple_must_stay() -> None:
    """Of four units in pairs two may go, or none; three and one may not be left."""
    pairs = group(multiple=2)
    pairs.check(np.array([1, 2]))
    pairs.check(np.empty(0, int))
    for gone in ([0], [0, 1, 3]):
        with pytest.raises(IllegalPlan, match=r"must keep a multiple of 2 of its 4 units, asked to remove"):
            pairs.check(np.array(gone))


def test_a_group_in_one_line() -> None:
    assert str(group()) == "a: 4 × channel"
    balanced = group(parts=(balance(0, 0, 1, 1),))
    assert str(balanced) == "a: 4 × channel, balanced over 2 parts"
    assert (balanced.part_count, group().part_count) == (2, 1)
    assert group(parts=(balance(0, 0, 1, 1), balance(0, 1, 2, 3))).part_count == 4
    assert [str(m) for m in group().members] == ["makes a.weight[0]", "takes b.weight[1]"]


def test_entries_cannot_be_exchanged() -> None:
    with pytest.raises(TypeError):
        group().entries[Axis("a.weight", 0)] = Entries(np.arange(4), np.arange(4))  # type: ignore[index]


# -- all conditions at once ------------------------------------------------------------------------------------------


def every_choice() -> Iterator[tuple[int, ...]]:
    return (chosen for size in range(5) for chosen in combinations(range(4), size))


CONDITIONS: dict[str, tuple[Group, Callable[[set[int]], bool]]] = {
    "none": (group(), lambda gone: len(gone) < 4),
    "halves": (
        group(parts=(balance(0, 0, 1, 1),)),
        lambda gone: len(gone) < 4 and len(gone & {0, 1}) == len(gone & {2, 3}),
    ),
    "halves of which three stay": (group(parts=(balance(0, 0, 1, 1),), least=3), lambda gone: not gone),
    "pairs of which two stay": (group(least=2, multiple=2), lambda gone: len(gone) in (0, 2)),
    "threes": (group(multiple=3), lambda gone: len(gone) == 1),
    "halves in pairs": (
        group(parts=(balance(0, 0, 1, 1),), multiple=2),
        lambda gone: len(gone) in (0, 2) and len(gone & {0, 1}) == len(gone & {2, 3}),
    ),
    "a free unit beside two parts": (
        group(parts=(balance(0, 1, -1, -1),), least=2),
        lambda gone: len(gone) < 3 and (0 in gone) == (1 in gone),
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_choice_is_legal_or_not_as_counted_by_hand(name: str) -> None:
    limited, legal = CONDITIONS[name]
    for chosen in every_choice():
        if legal(set(chosen)):
            limited.check(np.array(chosen, dtype=int))
        else:
            with pytest.raises(IllegalPlan, match="group 'a'"):
                limited.check(np.array(chosen, dtype=int))


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_rung_of_a_ladder_is_a_legal_choice(name: str) -> None:
    limited, legal = CONDITIONS[name]
    for seed in range(6):
        rungs = ladder(limited, np.random.default_rng(seed).normal(size=4), 1)
        for step in range(1, len(rungs) + 1):
            assert legal(set(rungs.chosen(step))), (step, rungs.chosen(step))


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("none", [(0,), (0, 1), (0, 1, 2)]),
        ("halves", [(0, 2)]),
        ("halves of which three stay", []),
        ("pairs of which two stay", [(0, 1)]),
        ("threes", [(0,)]),
        ("halves in pairs", [(0, 2)]),
    ],
)
def test_the_least_units_go_first(name: str, steps: list[tuple[int, ...]]) -> None:
    rungs = ladder(CONDITIONS[name][0], np.arange(4.0), 1)
    assert [rungs.chosen(k) for k in range(1, len(rungs) + 1)] == steps
    assert rungs.chosen(0) == ()


def test_units_that_are_the_same_twice_take_their_positions_once() -> None:
    """Entries are positions, and a position goes once however many units hold it."""
    shared = Entries(np.array([0, 1, 1, 2]), np.array([5, 5, 7, 9]))
    assert shared.of(np.array([0, 1])).tolist() == [5, 7]
    assert shared.of(np.array([2])).tolist() == [9]
    assert shared.of(np.empty(0, int)).tolist() == []


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])  # noqa: S301
def test_a_group_can_be_copied_and_pickled(copied: Callable[[Group], Group]) -> None:
    first = group(parts=(balance(0, 0, 1, 1),), least=2)
    second = copied(first)
    assert (str(second), second.members, second.least) == (str(first), first.members, 2)
    assert [p.tolist() for p in second.removes(np.array([1])).values()] == [[1], [1, 5]]
    with pytest.raises(TypeError, match="mappingproxy"):
        second.entries[Axis("c", 0)] = first.entries[Axis("a.weight", 0)]  # type: ignore[index]
