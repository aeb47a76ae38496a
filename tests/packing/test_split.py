"""How a matrix is split, by hand; and that every form holds every entry once."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from niwaki.errors import BadInput
from niwaki.packed import FORMS, Sizes, fullest, split
from niwaki.packed.counts import counted

X, _ = True, False
CROSS = np.array([[X, _, X, _], [_, _, _, _], [X, _, X, X]])


@pytest.mark.parametrize(
    ("form", "rows", "columns", "rest"),
    [
        ("dense", None, None, 0),
        ("rows", [0, 2], None, 0),
        ("columns", None, [0, 2, 3], 0),
        ("rows_columns", [0, 2], [0, 2, 3], 0),
        ("sparse", [], [], 5),
        ("core_sparse", [0, 2], [0, 2, 3], 0),  # 6 products, against 4 and a single entry at 3
    ],
)
def test_the_forms_by_hand(form: str, rows: list[int] | None, columns: list[int] | None, rest: int) -> None:
    parts = split(CROSS, form)
    assert (None if parts.rows is None else parts.rows.tolist()) == rows
    assert (None if parts.columns is None else parts.columns.tolist()) == columns
    assert int(parts.rest.sum()) == rest


def test_the_core_is_the_cheapest_of_those_met_on_the_way() -> None:
    """A full block of 3 × 3 and one entry outside: 9 and its price, or 12 with its row inside."""
    alive = np.zeros((5, 5), bool)
    alive[:3, :3] = True
    alive[4, 0] = True
    rows, columns = fullest(alive, price=2.0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 2], [0, 1, 2])
    rows, columns = fullest(alive, price=4.0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 2, 4], [0, 1, 2])


@pytest.mark.parametrize("price", [1.0, 3.0, 9.0])
def test_no_core_on_the_way_is_cheaper_and_it_is_the_same_again(price: float) -> None:
    alive = np.random.default_rng(0).random((9, 7)) < 0.3

    def cost(rows: np.ndarray, columns: np.ndarray) -> float:
        return rows.size * columns.size + price * (alive.sum() - alive[np.ix_(rows, columns)].sum())

    rows, columns = fullest(alive, price)
    assert cost(rows, columns) <= min(alive.size, price * alive.sum())
    again = fullest(alive.copy(), price)
    assert (again[0].tolist(), again[1].tolist()) == (rows.tolist(), columns.tolist())


def step_by_step(alive: np.ndarray, price: float) -> tuple[list[int], list[int]]:
    """The same core by the definition: all is counted again in every step, and nothing is left out."""
    stays = [list(range(n)) for n in alive.shape]
    best, found = np.inf, ([], [])
    while True:
        inside = alive[np.ix_(*stays)]
        cost = inside.size + price * (alive.sum() - inside.sum())
        if cost < best:
            best, found = cost, (list(stays[0]), list(stays[1]))
        if not any(stays):
            return found
        shares = [
            (inside[k].sum() if axis == 0 else inside[:, k].sum()) / max(1, len(stays[1 - axis]))
            for axis in (0, 1)
            for k in range(len(stays[axis]))
        ]
        axis, k = [(axis, k) for axis in (0, 1) for k in range(len(stays[axis]))][int(np.argmin(shares))]
        del stays[axis][k]


@pytest.mark.parametrize("price", [0.5, 1.0, 3.0, 9.0])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.95, 1.0])
def test_the_core_is_that_of_the_definition(share: float, price: float) -> None:
    random = np.random.default_rng(0)
    for shape in ((9, 7), (5, 12), (1, 6), (16, 16)):
        alive = random.random(shape) < share * random.random((shape[0], 1)) ** 0.3
        rows, columns = fullest(alive, price)
        assert (rows.tolist(), columns.tolist()) == step_by_step(alive, price)


def test_a_matrix_that_is_all_but_full_is_looked_at_no_longer_than_its_empty_rows_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head with a vocabulary that was padded: nothing else in it can be worth a single entry."""
    alive = np.ones((5_000, 300), bool)
    alive[-40:] = False
    alive[17, 5] = False
    steps: list[int] = []
    room = sys.modules[fullest.__module__]
    emptiest = room._emptiest
    monkeypatch.setattr(room, "_emptiest", lambda lines: steps.append(0) or emptiest(lines))
    rows, columns = fullest(alive)
    assert (rows.tolist(), columns.size) == (list(range(4_960)), 300)
    assert len(steps) == 40


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_every_entry_is_held_once(form: str, share: float) -> None:
    alive = np.random.default_rng(1).random((8, 6)) < share
    parts = split(alive, form)
    held = parts.rest.astype(int)
    rows = np.arange(8) if parts.rows is None else parts.rows
    columns = np.arange(6) if parts.columns is None else parts.columns
    held[np.ix_(rows, columns)] += 1
    assert held.max(initial=0) <= 1
    assert (held[alive] == 1).all()
    sizes = parts.sizes()
    assert sizes.stored == held.sum()
    assert (sizes.core[0] * sizes.core[1] == 0) == (rows.size == 0 or columns.size == 0)


def test_nothing_left_is_no_core_in_any_form() -> None:
    nothing = np.zeros((4, 3), bool)
    assert {split(nothing, form).sizes() for form in FORMS[1:]} == {Sizes(4, 3, 0, 0)}


def test_counts_by_hand() -> None:
    assert counted(Sizes(10, 20)) == 200
    assert counted(Sizes(10, 20, rows=4)) == 4 * 20 + 16 * 10
    assert counted(Sizes(10, 20, columns=5)) == 10 * 5 + 16 * 5
    assert counted(Sizes(10, 20, 4, 5, values=7)) == 4 * 5 + 3 * 7 + 16 * (5 + 10 + 30)
    assert counted(Sizes(10, 20, 0, 0)) == 0


def test_sizes_that_cannot_be_are_refused() -> None:
    for wrong, text in (
        ({"rows": 10}, "takes 0 to 9 of 10 rows or columns, or None for all; found 10"),
        ({"columns": -1}, "found -1"),
        ({"rows": 2.0}, r"found 2\.0"),
        ({"values": 201}, "no matrix of 10 × 20 has 201 entries"),
        ({"values": "3"}, "whole numbers"),
        ({"transposed": 1}, "whole numbers"),
        ({"outputs": 0}, "no matrix of 0 × 20"),
    ):
        with pytest.raises(BadInput, match=text):
            Sizes(**{"outputs": 10, "inputs": 20, **wrong})
    with pytest.raises(BadInput, match="no 'row'; did you mean 'rows'"):
        split(CROSS, "row")


def test_sizes_survive_json() -> None:
    sizes = Sizes(10, 20, 4, None, 7, True)
    assert Sizes.from_json(sizes.to_json()) == sizes
    with pytest.raises(ValueError, match="an object with columns"):
        Sizes.from_json({**sizes.to_json(), "depth": 3})
    assert torch.tensor(sizes.stored) == 4 * 20 + 7
