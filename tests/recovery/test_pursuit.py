"""The pursuit, by hand: what it looks at, what it keeps, when it stops, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery import pursue


def test_two_iterations_by_hand() -> None:
    """H = diag(5, 4, 3, 1), W1 = [[0.1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 2]], keep 1.

    Importance is W1' (U - U_S) = (0.05, 4, 3, 4). The two largest are units 1 and 3; unit 1 is the heavier (4 > 1).
    With unit 1 kept its importance is 0: units 3 (4) and 2 (3) join; unit 1 is still the heaviest of 1, 2, 3. Unit 0,
    the heaviest of all, is never looked at: the output does not need it.
    """
    hidden, second = torch.tensor([5.0, 4.0, 3.0, 1.0]), torch.tensor([0.1, 1.0, 1.0, 2.0])
    seen: list[list[bool]] = []

    def look(kept: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(kept.tolist())
        return hidden, second * (second * hidden * ~kept)

    assert pursue(look, 4, 1, iters=2).tolist() == [1]
    assert seen == [[False] * 4, [False, True, False, False]]


def test_what_joins_later_can_stay() -> None:
    """The first look finds 2 and 3, of which 3 (mass 2) stays; the second finds 0 and 1, and 0 (mass 9) is heavier."""
    looks = iter([[0.0, 0, 8, 9], [9.0, 8, 0, 0]])
    mass = torch.tensor([9.0, 3, 1, 2])
    assert pursue(lambda kept: (mass, torch.tensor(next(looks))), 4, 1, iters=2).tolist() == [0]


def test_importance_counts_with_its_sign() -> None:
    importance = torch.tensor([-9.0, 1.0, 2.0, -8.0])
    assert pursue(lambda kept: (torch.ones(4), importance), 4, 1, iters=1).tolist() == [2]


def test_of_equals_the_later_stay() -> None:
    assert pursue(lambda kept: (torch.ones(6), torch.ones(6)), 6, 2, iters=3).tolist() == [4, 5]


@pytest.mark.parametrize(("steady", "looks"), [(True, 2), (False, 7)])
def test_a_choice_that_repeats_is_final_only_where_looks_are_alike(steady: bool, looks: int) -> None:
    seen = []

    def look(kept: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(kept)
        return torch.arange(5.0), torch.arange(5.0)

    assert pursue(look, 5, 2, iters=7, steady=steady).tolist() == [3, 4]
    assert len(seen) == looks


def test_all_may_stay() -> None:
    assert pursue(lambda kept: (torch.zeros(3), torch.zeros(3)), 3, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("units", "keep", "iters", "told"), [(4, 0, 1, "not 0"), (4, 5, 1, "not 5"), (4, 1, 0, "one")])
def test_numbers_out_of_range_are_refused(units: int, keep: int, iters: int, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        pursue(lambda kept: (torch.ones(units), torch.ones(units)), units, keep, iters=iters)


def test_a_look_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(BadInput, match=r"one number for each of 4 units, not \(3,\)"):
        pursue(lambda kept: (torch.ones(3), torch.ones(4)), 4, 1)


def test_a_look_that_is_not_finite_is_refused() -> None:
    with pytest.raises(BadInput, match="not finite"):
        pursue(lambda kept: (torch.ones(4), torch.full((4,), torch.nan)), 4, 1)
