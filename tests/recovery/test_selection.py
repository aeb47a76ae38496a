"""The choices on plain matrices: i-SpaSP is what its gradient says, the others are what their names say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery import TwoLayer, ispasp, looks, pursue, random, top_k


def model(seed: int, units: int = 20) -> TwoLayer:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(units, 15, generator=g, dtype=torch.float64).relu()
    return TwoLayer(hidden, torch.randn(7, units, generator=g, dtype=torch.float64))


def gradient_look(m: TwoLayer):
    """Algorithm 2, word for word: the gradient of half the squared residual with respect to H, summed over samples."""

    def look(kept: Tensor) -> tuple[Tensor, Tensor]:
        hidden = m.hidden.clone().requires_grad_()
        pruned = m.second[:, kept] @ m.hidden[kept]
        (0.5 * (m.second @ hidden - pruned).square()).sum().backward()
        assert hidden.grad is not None
        return m.hidden.sum(1), hidden.grad.sum(1)

    return look


@pytest.mark.parametrize("keep", [1, 4, 10, 19])
@pytest.mark.parametrize("seed", range(4))
def test_two_products_with_a_vector_say_what_the_gradient_says(keep: int, seed: int) -> None:
    m = model(seed)
    kept = torch.zeros(20, dtype=torch.bool)
    kept[random(20, keep, seed)] = True
    for ours, theirs in zip(looks(lambda: m)(kept), gradient_look(m)(kept), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert ispasp(m, keep).equal(pursue(gradient_look(m), 20, keep))


def test_a_unit_whose_weights_cancel_is_passed_over() -> None:
    """The heaviest unit adds nothing to the output: i-SpaSP leaves it, Top-K takes it."""
    m = TwoLayer(torch.tensor([[9.0], [3], [2], [1]]), torch.tensor([[0.0, 1, 1, 1]]))
    assert top_k(m, 1).tolist() == [0]
    assert ispasp(m, 1).tolist() == [2]  # importance is (0, 6, 6, 6): the last two are looked at, then 2 is heavier


def test_each_look_draws_anew() -> None:
    drawn = iter([model(0), model(1), model(2)])
    pursue(looks(lambda: next(drawn)), 20, 3, iters=3)
    assert next(drawn, None) is None


def test_top_k_goes_by_magnitude_and_of_equals_the_later_stay() -> None:
    """The masses are 2, 3, 2, 2."""
    m = TwoLayer(torch.tensor([[1.0, 1], [-3, 0], [2, 0], [1, -1]]), torch.ones(1, 4))
    assert [top_k(m, keep).tolist() for keep in (1, 2, 3, 4)] == [[1], [1, 3], [1, 2, 3], [0, 1, 2, 3]]


def test_of_equals_the_same_stay_whoever_chooses() -> None:
    m = TwoLayer(torch.ones(6, 2), torch.ones(1, 6))
    assert top_k(m, 2).tolist() == ispasp(m, 2).tolist() == [4, 5]


def test_random_units_depend_on_the_seed_alone() -> None:
    assert random(50, 10, 3).equal(random(50, 10, 3))
    assert not random(50, 10, 3).equal(random(50, 10, 4))
    assert random(50, 10).unique().equal(random(50, 10))


@pytest.mark.parametrize("choose", [ispasp, top_k, lambda m, keep: random(m.units, keep)], ids=["ispasp", "top", "any"])
@pytest.mark.parametrize("keep", [0, 21])
def test_a_number_out_of_range_is_refused(choose, keep: int) -> None:
    with pytest.raises(BadInput, match=f"between 1 and 20 of 20 units can stay, not {keep}"):
        choose(model(0), keep)
