"""What is lost and what least squares wins back: by hand, as laws, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery import TwoLayer, compensate, ispasp, random, top_k

TWINS = TwoLayer(torch.tensor([[1.0, 2], [2, 4]]), torch.tensor([[1.0, 1]]))
"""Unit 1 is twice unit 0. U = (3, 6)."""


def model(seed: int, units: int = 12, samples: int = 40, outputs: int = 5) -> TwoLayer:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(units, samples, generator=g, dtype=torch.float64).relu()
    return TwoLayer(hidden, torch.randn(outputs, units, generator=g, dtype=torch.float64))


def test_output_mass_and_residual_by_hand() -> None:
    """Without unit 1, (2, 4) is missing: 4 + 16."""
    assert TWINS.output.tolist() == [[3, 6]]
    assert TWINS.mass.tolist() == [3, 6]
    assert TWINS.missing(torch.tensor([0])).tolist() == [[2, 4]]
    assert TWINS.residual(torch.tensor([0])) == 20
    assert TWINS.residual(torch.tensor([0]), torch.tensor([[2.0]])) == 1 + 4


def test_compensation_by_hand() -> None:
    """Unit 0 stands for its twin with a weight of 3. A ridge of 1 weighs the change like the samples: half of it, 1."""
    kept = torch.tensor([0])
    assert TWINS.compensated(kept).tolist() == [[pytest.approx(3)]]
    assert TWINS.compensated(kept, ridge=1.0).tolist() == [[pytest.approx(2)]]
    assert TWINS.residual(kept, TWINS.compensated(kept)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_residual_is_the_difference_of_the_outputs(seed: int) -> None:
    m, kept = model(seed), random(12, 5, seed)
    small = TwoLayer(m.hidden[kept], m.second[:, kept])
    assert m.residual(kept) == pytest.approx(float((m.output - small.output).square().sum()))
    torch.testing.assert_close(m.missing(kept), m.output - small.output)


@pytest.mark.parametrize("choose", [ispasp, top_k, lambda m, keep: random(m.units, keep)], ids=["ispasp", "top", "any"])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_does_better_on_the_samples_than_least_squares(choose, seed: int) -> None:
    m = model(seed)
    kept = choose(m, 4)
    best = m.compensated(kept)
    lowest = m.residual(kept, best)
    assert lowest < m.residual(kept)
    g = torch.Generator().manual_seed(seed)
    for _ in range(20):
        moved = best + 0.01 * torch.randn(best.shape, generator=g, dtype=best.dtype)
        assert m.residual(kept, moved) > lowest


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_the_ridge_solves_its_normal_equations(ridge: float) -> None:
    m, kept = model(7), torch.tensor([0, 3, 8])
    rows, change = m.hidden[kept], m.compensated(kept, ridge) - m.second[:, kept]
    left = (m.missing(kept) - change @ rows) @ rows.T
    torch.testing.assert_close(left, ridge * rows.square().sum(1).mean() * change)


def test_a_large_ridge_changes_nothing_and_a_small_one_is_least_squares() -> None:
    m, kept = model(1), torch.tensor([2, 5])
    torch.testing.assert_close(m.compensated(kept, 1e12), m.second[:, kept])
    torch.testing.assert_close(m.compensated(kept, 1e-12), m.compensated(kept))


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_dead_units_and_too_few_samples_are_no_trouble(ridge: float) -> None:
    dead = TwoLayer(torch.tensor([[0.0], [0], [1]]), torch.ones(1, 3))
    assert dead.compensated(torch.tensor([0, 1]), ridge).tolist() == [[1, 1]]
    few = model(2, samples=3)
    kept = torch.arange(8)
    assert few.residual(kept, few.compensated(kept, ridge)) < few.residual(kept)


def test_weights_keep_their_type() -> None:
    m = model(3)
    second = compensate(m.second[:, :2].float(), m.hidden[:2].float(), m.missing(torch.tensor([0, 1])).float())
    assert second.dtype == torch.float32


@pytest.mark.parametrize(
    ("hidden", "second", "told"),
    [
        (torch.ones(3), torch.ones(2, 3), "units x samples"),
        (torch.ones(3, 4), torch.ones(2, 4), r"not \(3, 4\) and \(2, 4\)"),
        (torch.ones(3, 0), torch.ones(2, 3), "at least one"),
        (torch.full((3, 4), torch.inf), torch.ones(2, 3), "inf or nan"),
    ],
)
def test_matrices_that_are_no_model_are_refused(hidden: Tensor, second: Tensor, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        TwoLayer(hidden, second)


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (torch.tensor([0, 2]), "numbered 0 to 1; found 0 to 2"),
        (torch.tensor([-1]), "found -1"),
        (torch.tensor([1, 1]), "twice"),
        (torch.tensor([True, False]), "int64"),
        (torch.tensor([[0]]), r"\(1, 1\)"),
    ],
)
def test_units_that_are_not_there_are_refused(kept: Tensor, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        TWINS.residual(kept)
    with pytest.raises(BadInput, match=told):
        TWINS.compensated(kept)


@pytest.mark.parametrize("ridge", [-1.0, float("inf"), float("nan")])
def test_a_ridge_that_is_none_is_refused(ridge: float) -> None:
    with pytest.raises(BadInput, match="ridge"):
        TWINS.compensated(torch.tensor([0]), ridge)
