"""Restricted isometry constants: of matrices where they are known by hand, and the bound above them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery.isometry import isometry, isometry_bound


def simplex(count: int) -> Tensor:
    """``count`` unit vectors in one dimension less, each two with the product ``-1 / (count - 1)``."""
    n = count - 1
    gram = (1 + 1 / n) * torch.eye(count, dtype=torch.float64) - 1 / n
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()).T


@pytest.mark.parametrize("entries", [1, 2, 3, 4])
def test_of_a_simplex_by_hand(entries: int) -> None:
    """The Gram matrix of k of them is (1 + 1/n) I - 1/n: eigenvalues 1 - (k - 1)/n, and 1 + 1/n if k > 1."""
    n = 11
    expected = max((entries - 1) / n, 1 / n if entries > 1 else 0)
    assert isometry(simplex(n + 1), entries) == pytest.approx(expected, abs=1e-12)
    assert isometry_bound(simplex(n + 1), entries) == pytest.approx((entries - 1) / n, abs=1e-12)


def test_by_hand_of_two_columns() -> None:
    """Lengths 1 and 2 at right angles: one squared length is 4, that is 3 off."""
    w = torch.tensor([[1.0, 0], [0, 2]])
    assert isometry(w, 1) == isometry(w, 2) == isometry_bound(w, 1) == pytest.approx(3)


@pytest.mark.parametrize("shape", [(30, 8), (6, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_lies_above_and_the_definition_within(shape: tuple[int, int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(*shape, generator=g, dtype=torch.float64) / shape[0] ** 0.5
    constants = [isometry(w, k) for k in range(1, 9)]
    assert constants == sorted(constants)
    assert isometry(w, 99) == constants[-1]
    for k, constant in enumerate(constants, 1):
        assert constant <= isometry_bound(w, k) + 1e-12
        for _ in range(50):
            x = torch.zeros(8, dtype=torch.float64)
            x[torch.randperm(8, generator=g)[:k]] = torch.randn(k, generator=g, dtype=torch.float64)
            assert abs(float((w @ x).square().sum() / x.square().sum()) - 1) <= constant + 1e-12


def test_too_many_choices_are_refused_and_the_bound_is_named() -> None:
    with pytest.raises(BadInput, match=r"choices of 10 among 50 .* isometry_bound"):
        isometry(torch.eye(50), 10)
    assert isometry_bound(torch.eye(50), 10) == 0


@pytest.mark.parametrize("entries", [0, -1])
def test_no_entries_are_refused(entries: int) -> None:
    for of in (isometry, isometry_bound):
        with pytest.raises(BadInput, match="at least one"):
            of(torch.eye(3), entries)
