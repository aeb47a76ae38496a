"""Masses that fall by a power: measured by hand, made by the generator, and what is refused."""

from __future__ import annotations

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.recovery import compressibility, compressible, magnitude


def test_magnitude_by_hand() -> None:
    """Masses 1, 3, 2: the largest 3 * 1, then 2 * 2^2 = 8, then 1 * 3^2 = 9 for p = 1/2."""
    hidden = torch.tensor([[1.0, 0], [1, 2], [2, 0]])
    assert magnitude(hidden, 0.5) == 9
    assert magnitude(hidden, 1.0) == 4


def test_p_by_hand() -> None:
    """Masses 1, 1/4, 1/9, 1/16 fall as i^-2: p = 1/2 and R = 1; a dead unit says nothing."""
    found = compressibility(torch.tensor([[1 / 4], [1.0], [1 / 16], [0], [1 / 9]]))
    assert (found.p, found.magnitude) == (pytest.approx(0.5), pytest.approx(1.0))


@pytest.mark.parametrize("p", [0.3, 0.5, 0.9])
def test_the_generator_keeps_its_promise(p: float) -> None:
    hidden = compressible(p, 40, 60, magnitude=3.0, seed=1)
    assert hidden.shape == (40, 60)
    assert float(hidden.min()) >= 0
    assert magnitude(hidden, p) <= 3.0 * (1 + 1e-12)
    # After 60 draws a row has spent nearly all it has, so that the bound is met and p is the one asked for.
    found = compressibility(hidden)
    assert (found.p, found.magnitude) == (pytest.approx(p), pytest.approx(3.0))
    assert hidden.sum(1).argmax() != 0, "the rows are not shuffled"


def test_entries_take_half_of_what_is_left_on_average() -> None:
    heaviest = torch.cat([compressible(0.5, 1, 4, seed=s) for s in range(200)])
    expected = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 16], dtype=torch.float64)
    torch.testing.assert_close(heaviest.mean(0), expected, rtol=0.25, atol=0)


def test_the_seed_decides() -> None:
    assert compressible(0.5, 9, 4, seed=2).equal(compressible(0.5, 9, 4, seed=2))
    assert not compressible(0.5, 9, 4, seed=2).equal(compressible(0.5, 9, 4, seed=3))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: compressible(0.0, 3), "p is above 0"),
        (lambda: compressible(0.5, 0), "above 0"),
        (lambda: compressible(0.5, 3, magnitude=-1.0), "above 0"),
        (lambda: magnitude(torch.ones(3), 0.5), "matrix"),
        (lambda: magnitude(torch.ones(3, 3), -1), "p is above 0"),
        (lambda: compressibility(torch.zeros(3, 3)), "two units with mass; there are 0"),
        (lambda: compressibility(torch.ones(3, 3)), "same mass"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(call, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        call()
