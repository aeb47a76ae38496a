"""The pattern of a mask: worked examples, laws that hold for any mask, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.pattern import Pattern, edges, gini, gini_by_chance, look, spread, spread_by_chance

# Survivors: 2, 0, 1 by row and 2, 1, 0, 0 by column.
SMALL = [[0.5, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]


def mask(seed: int, rows: int = 12, columns: int = 17, share: float = 0.3) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < share


def masks() -> list[Tensor]:
    """Random ones of many shapes and densities, an empty one, a full one, and one row."""
    shapes = [(1, 1), (1, 9), (9, 1), (12, 17), (50, 49), (48, 96), (130, 61)]
    drawn = [mask(i, *shape, share) for i, (shape, share) in enumerate(itertools.product(shapes, (0.02, 0.3, 0.9)))]
    return [*drawn, torch.zeros(5, 6, dtype=torch.bool), torch.ones(5, 6, dtype=torch.bool)]


# -- by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 2, 3, 6], 1 / 3),  # (−3·1 − 1·2 + 1·3 + 3·6) / (4·12)
        ([0, 0, 0, 4], 3 / 4),  # one of four has everything: 1 − 1/4
        ([0, 1], 1 / 2),  # (−1·0 + 1·1) / (2·1)
        ([5, 5, 5], 0.0),
        ([0, 0, 0], 0.0),  # nothing is left: all have equally little
        ([7], 0.0),
    ],
)
def test_gini_by_hand(counts: list[int], expected: float) -> None:
    assert gini(counts) == expected
    mean_difference = sum(abs(a - b) for a in counts for b in counts) / len(counts) ** 2
    assert gini(counts) * 2 * sum(counts) / len(counts) == pytest.approx(mean_difference)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 2, 3, 6], math.sqrt(3.5) / 3),
        ([0, 0, 0, 4], math.sqrt(3)),
        ([5, 5, 5], 0.0),
        ([0, 0], 0.0),
    ],
)
def test_spread_by_hand(counts: list[int], expected: float) -> None:
    assert spread(counts) == pytest.approx(expected, rel=1e-15)


def test_a_small_matrix_by_hand() -> None:
    # Rows 0, 1, 2: (−2·0 + 0·1 + 2·2) / (3·3). Columns 0, 0, 1, 2: (1·1 + 3·2) / (4·3).
    # Mean and variance of rows: 1 and 2/3; of columns: 3/4 and 5/4 − 9/16 = 11/16.
    found = look(torch.tensor(SMALL))
    assert dataclasses.replace(found, spread_rows=0, spread_columns=0) == Pattern(
        rows=3, columns=4, positions=1, survivors=3, gini_rows=4 / 9, gini_columns=7 / 12, spread_rows=0,
        spread_columns=0, empty_rows=1, empty_columns=2, blocks=((1, 1, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0)),
    )  # fmt: skip
    assert found.spread_rows == pytest.approx(math.sqrt(2 / 3))
    assert found.spread_columns == pytest.approx(math.sqrt(11 / 16) / 0.75)
    assert (found.weights, found.sparsity) == (12, 0.75)
    assert found.heat == ((100, 100, 0, 0), (0, 0, 0, 0), (100, 0, 0, 0))


def test_the_positions_of_a_kernel_are_counted_together() -> None:
    kernel = torch.zeros(2, 3, 1, 2)
    kernel[0, 0, 0, 0] = kernel[0, 0, 0, 1] = kernel[1, 2, 0, 1] = -1.0
    found = look(kernel)
    assert (found.rows, found.columns, found.positions, found.weights, found.survivors) == (2, 3, 2, 12, 3)
    assert found.blocks == ((2, 0, 0), (0, 0, 1))
    assert found.heat == ((100, 0, 0), (0, 0, 50))
    assert (found.empty_rows, found.empty_columns) == (0, 1)
    assert found.gini_rows == gini([2, 1])
    assert found.gini_columns == gini([2, 0, 1])


def test_blocks_by_hand() -> None:
    assert edges(5, 2) == [0, 2, 5]
    assert edges(3) == [0, 1, 2, 3]
    found = look(torch.ones(96, 100).tril())
    # Blocks of 2 rows by 2 or 3 columns: the first holds 1 + 2 of 4, the one right of it nothing.
    assert [row[:2] for row in found.blocks[:2]] == [(3, 0), (4, 3)]
    assert [row[:2] for row in found.heat[:2]] == [(75, 0), (100, 75)]
    assert found.capacity[0] == tuple(2 * (b - a) for a, b in itertools.pairwise(edges(100)))


def test_per_cent_are_rounded_but_few_are_not_none_and_almost_all_not_all() -> None:
    def heat(alive: int) -> int:
        made = torch.zeros(48, 48 * 1000)
        made[0, :alive] = 1
        return look(made).heat[0][0]

    assert [heat(n) for n in (0, 1, 14, 15, 24, 25, 504, 505, 999, 1000)] == [0, 1, 1, 2, 2, 3, 50, 51, 99, 100]


# -- laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alive", masks(), ids=lambda m: f"{m.shape[0]}x{m.shape[1]}-{int(m.sum())}")
class TestLaws:
    """What holds for any mask."""

    def test_survivors_add_up(self, alive: Tensor) -> None:
        found = look(alive)
        assert found.survivors == int(alive.sum()) == sum(map(sum, found.blocks))
        assert sum(map(sum, found.capacity)) == found.weights == alive.numel()
        assert found.empty_rows == int((~alive.any(1)).sum())
        assert found.empty_columns == int((~alive.any(0)).sum())

    def test_blocks_are_what_the_mask_has_there(self, alive: Tensor) -> None:
        found = look(alive)
        high, wide = (list(itertools.pairwise(edges(n))) for n in alive.shape)
        assert (len(found.blocks), len(found.blocks[0])) == (min(alive.shape[0], 48), min(alive.shape[1], 48))
        for (a, b), row, per_cent in zip(high, found.blocks, found.heat, strict=True):
            for (c, d), count, share in zip(wide, row, per_cent, strict=True):
                block = alive[a:b, c:d]
                assert count == int(block.sum())
                assert abs(share - 100 * float(block.float().mean())) <= 1
                assert (share == 0, share == 100) == (count == 0, count == block.numel())

    def test_gini_and_spread_stay_in_their_bounds(self, alive: Tensor) -> None:
        found = look(alive)
        for axis, length in (("rows", found.rows), ("columns", found.columns)):
            assert 0 <= getattr(found, f"gini_{axis}") <= 1 - 1 / length
            assert 0 <= getattr(found, f"spread_{axis}") <= math.sqrt(length - 1) + 1e-12

    def test_the_order_of_rows_and_columns_moves_no_bit_of_their_figures(self, alive: Tensor) -> None:
        mixed = alive[torch.randperm(alive.shape[0], generator=torch.Generator().manual_seed(1))]
        mixed = mixed[:, torch.randperm(alive.shape[1], generator=torch.Generator().manual_seed(2))]
        assert dataclasses.replace(look(mixed), blocks=()) == dataclasses.replace(look(alive), blocks=())

    def test_transposing_swaps_rows_and_columns(self, alive: Tensor) -> None:
        one, other = look(alive).to_json(), look(alive.T).to_json()
        swap = {"rows": "columns", "columns": "rows"}
        for name, value in one.items():
            first, _, axis = name.rpartition("_")
            if name == "blocks":
                assert other[name] == [list(row) for row in zip(*value, strict=True)]
            else:
                assert other[f"{first}_{swap[axis]}" if first and axis in swap else swap.get(name, name)] == value

    def test_weights_masks_arrays_and_kinds_of_numbers_are_the_same_to_it(self, alive: Tensor) -> None:
        weight = torch.where(alive, -0.25, 0.0)
        for same in (weight, weight.double(), weight.bfloat16(), weight.numpy(), alive.numpy(), weight.to_sparse()):
            assert look(same) == look(alive)
        assert look(torch.nn.Parameter(weight)) == look(alive)
        assert look(weight[:, :, None, None]) == look(alive)
        assert look(weight.T.contiguous().T) == look(alive)

    def test_it_goes_to_json_and_back(self, alive: Tensor) -> None:
        found = look(alive)
        assert Pattern.from_json(json.loads(json.dumps(found.to_json()))) == found
        assert hash(found) == hash(look(alive.clone()))


@pytest.mark.parametrize("seed", range(8))
def test_concentrating_raises_gini_and_spread(seed: int) -> None:
    """Each survivor that moves from a poorer row to a richer one makes the rows more unequal."""
    alive = mask(seed)
    before = look(alive)
    for _ in range(20):
        order = alive.sum(1).argsort()
        poor = next((int(r) for r in order if alive[r].any()), 0)
        rich = next((int(r) for r in order.flip(0) if not alive[r].all()), 0)
        if alive[poor].sum() > alive[rich].sum() or poor == rich:
            break
        free = (~alive[rich]).nonzero()[0]
        alive[poor, alive[poor].nonzero()[0]], alive[rich, free] = False, True
        after = look(alive)
        assert after.survivors == before.survivors
        assert after.gini_rows > before.gini_rows
        assert after.spread_rows > before.spread_rows
        before = after
    assert before.gini_rows > 0.3


def test_looking_changes_nothing() -> None:
    weight = torch.tensor(SMALL, requires_grad=True)
    look(weight)
    assert weight.grad is None
    assert weight.tolist() == SMALL


# -- chance ----------------------------------------------------------------------------------------------------


def test_chance_by_hand() -> None:
    assert gini_by_chance(2, 0.5) == pytest.approx(3 / 8, rel=1e-14)
    # One weight: half of the rows have it: (1/2 · 1/2) / (1/2).
    assert gini_by_chance(1, 0.5) == pytest.approx(1 / 2, rel=1e-14)
    assert spread_by_chance(100, 0.2) == pytest.approx(math.sqrt(0.8 / 20))
    assert [gini_by_chance(9, share) for share in (0.0, 1.0)] == [0.0, 0.0]
    assert [spread_by_chance(9, share) for share in (0.0, 1.0)] == [0.0, 0.0]
    # Long rows: a normal distribution, whose mean difference is 2/√π standard deviations.
    assert gini_by_chance(10**6, 0.05) == pytest.approx(spread_by_chance(10**6, 0.05) / math.sqrt(math.pi), rel=1e-4)


@pytest.mark.parametrize(("columns", "share"), [(4, 0.5), (40, 0.05), (300, 0.1), (300, 0.9), (3000, 0.01)])
def test_random_masks_are_as_unequal_as_chance_says(columns: int, share: float) -> None:
    found = look(mask(0, 4000, columns, share))
    assert found.gini_rows == pytest.approx(gini_by_chance(columns, share), rel=0.03)
    assert found.spread_rows == pytest.approx(spread_by_chance(columns, share), rel=0.03)


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(3), r"needs rows and columns, at least one of each; the shape is \(3,\)"),
        (torch.ones(3, 0), r"the shape is \(3, 0\)"),
        (np.ones((2, 3, 0)), r"the shape is \(2, 3, 0\)"),
        (torch.ones(2, 3, device="meta"), "on the meta device has no values"),
        ([[1, 2]], "that of a tensor or an array, not of list"),
    ],
)
def test_what_has_no_pattern_is_refused(weight: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        look(weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows must be a whole number of 1 or more, not 0"),
        ({"columns": True}, "columns must be a whole number of 1 or more, not True"),
        ({"positions": 1.0}, "positions must be a whole number of 1 or more, not 1.0"),
        ({"survivors": 13}, "survivors must be a whole number from 0 to 12, not 13"),
        ({"survivors": -1}, "survivors must be a whole number from 0 to 12, not -1"),
        ({"gini_rows": 0.7}, "gini_rows must be a number from 0 to 0.666667, not 0.7"),
        ({"gini_columns": -0.1}, "gini_columns must be a number from 0 to 0.75, not -0.1"),
        ({"gini_rows": None}, "gini_rows must be a number from 0 to 0.666667, not None"),
        ({"spread_rows": float("nan")}, "spread_rows must be a number from 0 to 1.41421, not nan"),
        ({"spread_columns": True}, "spread_columns must be a number from 0 to 1.73205, not True"),
        ({"empty_rows": 4}, "empty_rows must be a whole number from 0 to 3, not 4"),
        ({"empty_rows": 3}, "empty_rows is 3 of 3, which cannot be with 3 survivors"),
        ({"empty_columns": 0}, "empty_columns is 0 of 4, which cannot be with 3 survivors"),
        ({"survivors": 7, "blocks": []}, "empty_columns is 2 of 4, which cannot be with 7 survivors"),
        ({"blocks": [[1, 1, 0, 0]]}, "blocks must be 3 rows of 4 for a matrix of 3 by 4, not 1 rows of 4"),
        ({"blocks": [[1, 1], [0], [1, 0]]}, "blocks must be 3 rows of 4 .* not 3 rows of 1 or 2"),
        ({"blocks": [[2, 1, 0, 0], [0] * 4, [0] * 4]}, r"blocks\[0\]\[0\] must be a whole number from 0 to 1, not 2"),
        ({"blocks": [[1, True, 0, 0], [0] * 4, [1, 0, 0, 0]]}, r"blocks\[0\]\[1\] must be a whole number"),
        ({"blocks": [[1, 0, 0, 0], [0] * 4, [0] * 4]}, "blocks hold 1 survivors together, and the matrix 3"),
        ({"blocks": "1100"}, "blocks must be a list of rows, not '1100'"),
        ({"survivers": 3}, "a pattern has no 'survivers'; did you mean 'survivors'"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Pattern.from_json(look(torch.tensor(SMALL)).to_json() | change)


def test_missing_keys_and_what_is_no_dict_are_named() -> None:
    data = look(torch.tensor(SMALL)).to_json()
    del data["rows"], data["blocks"]
    with pytest.raises(BadInput, match="a pattern needs 'rows', 'blocks'; found columns, positions"):
        Pattern.from_json(data)
    with pytest.raises(BadInput, match=r"a pattern must be a dict, not list \(\[\]\)"):
        Pattern.from_json([])


def test_the_heat_map_may_be_left_out() -> None:
    bare = dataclasses.replace(look(torch.tensor(SMALL)), blocks=())
    assert bare.heat == ()
    assert Pattern.from_json(bare.to_json()) == bare


def test_the_room_is_light() -> None:
    code = "import sys, niwaki.pattern; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
