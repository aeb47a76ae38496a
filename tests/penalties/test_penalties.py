"""Penalties: each gradient against the formula that it is of, by automatic differentiation and by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from niwaki.penalties import PENALTIES, Lasso, Penalty, Proximal, Ridge, RowColumn, Unevenness

EPSILON = 1e-12


def euclidean(w: Tensor, along: int) -> Tensor:
    """Norms of rows (0) or columns (1), of a matrix or a convolution's weight."""
    return (w.movedim(along, 0).flatten(1).square().sum(1) + EPSILON).sqrt()


def absolute(w: Tensor, along: int) -> Tensor:
    return w.movedim(along, 0).flatten(1).abs().sum(1)


def spread(norms: Tensor) -> Tensor:
    return norms.std(correction=0)


def length(w: Tensor, along: int) -> float:
    return (w.numel() / w.shape[along]) ** 0.5


FORMULAS: list[tuple[Penalty, Callable[[Tensor], Tensor]]] = [
    (Ridge(), lambda w: w.square().sum() / 2),
    (Lasso(), lambda w: w.abs().sum()),
    (RowColumn(), lambda w: euclidean(w, 0).sum() + euclidean(w, 1).sum()),
    (RowColumn(scaled=True), lambda w: sum(length(w, d) * euclidean(w, d).sum() for d in (0, 1))),
    (Unevenness(), lambda w: -spread(absolute(w, 0)) - spread(absolute(w, 1))),
    (
        Unevenness(relative=True),
        lambda w: -sum(spread(absolute(w, d)) / absolute(w, d).mean() for d in (0, 1)),
    ),
]
every_formula = pytest.mark.parametrize(("penalty", "formula"), FORMULAS, ids=[repr(p) for p, _ in FORMULAS])


@pytest.mark.parametrize("shape", [(3, 5), (6, 2), (4, 3, 2, 2)], ids=str)
@every_formula
def test_gradients_are_those_of_the_formula(
    penalty: Penalty, formula: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(formula(weight), weight)
    torch.testing.assert_close(penalty.gradient(weight.detach()), expected)


def test_every_penalty_has_a_formula_here() -> None:
    assert {type(p) for p, _ in FORMULAS} == set(PENALTIES.values())


def test_rows_and_columns_by_hand() -> None:
    """Rows have the norms 5 and 13, columns 3 and 4 over 5 and 12: sqrt(9 + 25) and sqrt(16 + 144)."""
    weight = torch.tensor([[3.0, 4.0], [5.0, 12.0]], dtype=torch.float64)
    columns = torch.tensor([34.0, 160.0], dtype=torch.float64).sqrt()
    expected = weight / torch.tensor([[5.0], [13.0]], dtype=torch.float64) + weight / columns
    torch.testing.assert_close(RowColumn().gradient(weight), expected)
    assert RowColumn().gradient(weight)[0, 0].item() == pytest.approx(3 / 5 + 3 / 34**0.5)


def test_a_weak_row_is_pressed_as_a_whole() -> None:
    """Two equal weights, one in a strong row, one in a weak one: that of the weak row is pressed more."""
    weight = torch.tensor([[1.0, 10.0], [1.0, 0.1]])
    pressed = RowColumn().gradient(weight)
    assert pressed[1, 0] > 1.4 * pressed[0, 0]


@every_formula
def test_what_is_zero_is_not_pressed(penalty: Penalty, formula: object) -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, -1.0]])
    pressed = penalty.gradient(weight)
    assert pressed.isfinite().all()
    assert (pressed[weight == 0] == 0).all()
    assert (penalty.gradient(torch.zeros(2, 3)) == 0).all()


@every_formula
def test_half_precision_stays_finite(penalty: Penalty, formula: object) -> None:
    weight = torch.full((300, 300), 16.0, dtype=torch.float16)
    weight[0] = 0  # squares of a row would sum up to 76,800, which float16 does not have
    assert penalty.gradient(weight).isfinite().all()


def test_a_proximal_step_shortens_rows_then_columns() -> None:
    """By hand: rows of norm 5 and 0.5 by 1: times 4/5, and gone. Then columns of norm 2.4 and 3.2, times 1.4 / 2.4 and
    2.2 / 3.2."""
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    RowColumn().shrink_(weight, 1.0)
    torch.testing.assert_close(weight, torch.tensor([[1.4, 2.2], [0.0, 0.0]]))


def test_soft_thresholding_by_hand() -> None:
    weight = torch.tensor([[3.0, -0.5], [-2.0, 1.0]])
    Lasso().shrink_(weight, 1.0)
    assert weight.tolist() == [[2.0, 0.0], [-1.0, 0.0]]


@pytest.mark.parametrize("penalty", [Ridge(), Lasso()], ids=repr)
def test_a_proximal_step_is_the_least_of_its_objective(penalty: Proximal) -> None:
    """Moving away from it in any of many directions is no better."""
    formula = dict(FORMULAS)[penalty]
    torch.manual_seed(0)
    before = torch.randn(4, 3, dtype=torch.float64)
    after = before.clone()
    penalty.shrink_(after, 0.7)

    def objective(w: Tensor) -> float:
        return float((w - before).square().sum() / 2 + 0.7 * formula(w))

    assert all(objective(after + 0.01 * torch.randn_like(after)) > objective(after) for _ in range(200))


def test_a_column_alone_takes_the_exact_step() -> None:
    """A matrix of one row: each column is one weight, and the row is the whole; rows first."""
    before = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    after = before.clone()
    RowColumn().shrink_(after, 1.0)
    torch.testing.assert_close(after, torch.tensor([[2.4 - 1, 3.2 - 1]], dtype=torch.float64))


RATE = 5e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1.0, 10.0])
def test_a_row_no_longer_than_the_amount_is_gone(alpha: float, dtype: torch.dtype) -> None:
    """At rates of fine-tuning, where the amount is as small as 5e-9; and a column likewise."""
    amount = RATE * alpha
    weight = torch.ones(3, 4, dtype=dtype)
    weight[1] = 0.4 * amount  # the norm of four such weights is 0.8 of the amount
    weight[:, 2] = torch.tensor([0.5, 0.0, 0.5]) * amount
    RowColumn().shrink_(weight, amount)
    assert (weight != 0).tolist() == [[True, True, False, True], [False] * 4, [True, True, False, True]]
    scaled = torch.full((1, 4), 0.9 * amount, dtype=dtype)  # a norm of 1.8, and a pull of √4
    RowColumn(scaled=True).shrink_(scaled, amount)
    assert not scaled.any()


def test_small_amounts_add_up() -> None:
    """Two hundred steps of 5e-9 take as much in float32 as in float64, but for what rounds either way. All rows and
    columns have one norm, of which the amount is two and a half times what float32 tells from 1."""
    torch.manual_seed(0)
    values = torch.randn(64, dtype=torch.float64)
    values *= RATE * 1e-4 * 2**24 / 2.45 / values.norm()
    before = torch.stack([values.roll(k) for k in range(64)])
    taken = []
    for dtype in (torch.float32, torch.float64):
        weight = before.to(dtype, copy=True)
        for _ in range(200):
            RowColumn().shrink_(weight, RATE * 1e-4)
        taken.append(float(before.norm() - weight.double().norm()))
    assert taken[0] == pytest.approx(taken[1], rel=0.08)


def test_an_amount_of_nothing_takes_nothing() -> None:
    """Where a schedule begins or ends at a rate of 0."""
    weight = torch.tensor([[1e-30, 0.0], [0.0, 2.0]])
    RowColumn().shrink_(weight, 0.0)
    assert torch.equal(weight, torch.tensor([[1e-30, 0.0], [0.0, 2.0]]))
