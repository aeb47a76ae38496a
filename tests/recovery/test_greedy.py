"""Greedy forward selection: by hand, two ways to the same losses, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery import Forming, Reusing, TwoLayer, greedy

DIAGONAL = TwoLayer(torch.diag(torch.tensor([3.0, 2, 1])), torch.eye(3))
WAYS = pytest.mark.parametrize("way", [Forming, Reusing])


def model(seed: int, units: int = 9) -> TwoLayer:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(units, 11, generator=g, dtype=torch.float64).relu()
    return TwoLayer(hidden, torch.randn(4, units, generator=g, dtype=torch.float64))


@WAYS
def test_a_sum_by_hand(way) -> None:
    """U = diag(3, 2, 1). With unit 0 alone 4 + 1 is left, with unit 1 alone 9 + 1, with unit 2 alone 9 + 4."""
    losses = way(DIAGONAL)
    assert losses(torch.zeros(3, dtype=torch.int64), torch.arange(3)).tolist() == [5, 10, 13]
    assert losses(torch.tensor([1, 0, 0]), torch.tensor([1, 2])).tolist() == [1, 4]
    assert greedy(losses, 3, 3).tolist() == [0, 1, 2]


@WAYS
def test_a_uniform_average_by_hand(way) -> None:
    """One of three counts three times: unit j alone leaves 14 - 6 a + 9 a with a its square: 41, 26, 17.

    Beside unit 2, each counts 1.5: with unit 0 it is (1.5, 2, 0.5), 6.5 in all; with 1 it is (3, 1, 0.5), 10.25; with
    unit 2 again (3, 2, 2), 17. Then unit 1 makes it exact.
    """
    losses = way(DIAGONAL, averaged=True)
    assert losses(torch.zeros(3, dtype=torch.int64), torch.arange(3)).tolist() == [41, 26, 17]
    assert losses(torch.tensor([0, 0, 1]), torch.arange(3)).tolist() == [6.5, 10.25, 17]
    assert losses(torch.tensor([1, 0, 1]), torch.tensor([1])).tolist() == [0]
    assert greedy(losses, 3, 3, repeats=True).tolist() == [2, 0, 1]


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("tries", [None, 4])
@pytest.mark.parametrize("seed", range(3))
def test_inner_products_that_are_reused_make_the_same_choices(averaged: bool, tries: int | None, seed: int) -> None:
    m = model(seed)
    counts = torch.randint(0, 3, (9,), generator=torch.Generator().manual_seed(seed))
    formed, reused = (way(m, averaged=averaged) for way in (Forming, Reusing))
    torch.testing.assert_close(formed(counts, torch.arange(9)), reused(counts, torch.arange(9)))
    picks = [greedy(w, 9, 9, tries=tries, seed=seed, repeats=averaged) for w in (formed, reused)]
    assert picks[0].equal(picks[1])


def test_the_loss_of_a_sum_is_the_residual() -> None:
    m, kept = model(5), torch.tensor([1, 4, 7])
    counts = torch.zeros(9, dtype=torch.int64)
    counts[kept[:2]] = 1
    assert float(Reusing(m)(counts, kept[2:])) == pytest.approx(m.residual(kept))


def test_every_step_takes_the_best_candidate_and_the_first_n_are_the_choice_of_n() -> None:
    m = model(6)
    picks = greedy(Forming(m), 9, 5)
    assert greedy(Forming(m), 9, 3).equal(picks[:3])
    for n in range(5):
        left = [u for u in range(9) if u not in picks[:n]]
        residuals = [m.residual(torch.tensor([*picks[:n], u])) for u in left]
        assert left[residuals.index(min(residuals))] == picks[n]


def test_few_candidates_are_drawn_by_the_seed_and_never_twice_in_a_step() -> None:
    seen: list[list[int]] = []

    def losses(counts: Tensor, candidates: Tensor) -> Tensor:
        seen.append(candidates.tolist())
        return candidates.float()

    first = greedy(losses, 30, 6, tries=5, seed=1)
    assert all(len(step) == len(set(step)) == 5 and step == sorted(step) for step in seen)
    assert first.tolist() == [step[0] for step in seen]
    assert greedy(losses, 30, 6, tries=5, seed=1).equal(first)
    assert not greedy(losses, 30, 6, tries=5, seed=2).equal(first)


def test_of_equals_the_smaller_number_joins_and_only_repeats_join_twice() -> None:
    def alike(counts: Tensor, candidates: Tensor) -> Tensor:
        return torch.zeros(len(candidates))

    assert greedy(alike, 3, 3).tolist() == [0, 1, 2]
    assert greedy(alike, 3, 5, repeats=True).tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("picks", "options", "told"),
    [(0, {}, "not 0"), (4, {}, "not 4"), (0, {"repeats": True}, "not 0"), (1, {"tries": 0}, "not 0")],
)
def test_numbers_out_of_range_are_refused(picks: int, options: dict, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        greedy(Reusing(DIAGONAL), 3, picks, **options)


@pytest.mark.parametrize("found", [torch.zeros(2), torch.tensor([0.0, torch.nan, 0.0])])
def test_losses_that_are_none_are_refused(found: Tensor) -> None:
    with pytest.raises(BadInput, match="3 candidates have one loss each"):
        greedy(lambda counts, candidates: found, 3, 1)


def test_so_many_of_each_part_join_and_no_more() -> None:
    """Units 0 and 1 are the best, and of one part, of which one may join: 0, and then 3, the better of 2 and 3."""
    worth = torch.tensor([9.0, 8.0, 1.0, 2.0])

    def losses(counts: Tensor, candidates: Tensor) -> Tensor:
        return -worth[candidates]

    parts = torch.tensor([0, 0, 1, 1])
    assert greedy(losses, 4, (1, 1), parts=parts).tolist() == [0, 3]
    assert greedy(losses, 4, (0, 2), parts=parts).tolist() == [3, 2]
    for picks in ((3, 0), (3, 2), (0, 0), (-1, 2)):
        with pytest.raises(BadInput, match=r"between 1 and \[2, 2\] of the parts of 4 units can be picked"):
            greedy(losses, 4, picks, parts=parts)
    assert greedy(losses, 4, (3, 0), parts=parts, repeats=True).tolist() == [0, 0, 0]
    with pytest.raises(BadInput, match=r"of the parts of 4 units can be picked"):
        greedy(losses, 4, (1, 0, 1), parts=parts, repeats=True)
    for wrong in (parts[:3], parts + 1):
        with pytest.raises(BadInput, match="4 units have a part each"):
            greedy(losses, 4, (1, 1), parts=wrong)
