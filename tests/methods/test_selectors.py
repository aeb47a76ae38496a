"""Selectors by themselves, before made-up activity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods.recover import Recover
from niwaki.methods.selectors import Greedy, Heaviest, Pursuit
from niwaki.methods.view import Place, Sampling


class Outputs:
    """Units that add these vectors (a row each) to the output; their mass is the sum of absolute entries."""

    def __init__(self, z: Tensor) -> None:
        self.z = z.double()
        self.asked = 0

    def mass(self, *, absolute: bool = True) -> Tensor:
        return (self.z.abs() if absolute else self.z).sum(1)

    def importance(self, kept: Tensor, *, batch_statistics: bool = False) -> Tensor:
        self.asked += 1
        return self.z @ self.z[~kept].sum(0)

    def products(self) -> Tensor:
        return self.z @ self.z.t()

    def errors(self, weights: Any) -> list[float]:
        return [float(((1 - w)[:, None] * self.z).sum(0).square().sum()) for w in weights]


def place(units: int, *keep: int) -> Place:
    return Place("g", torch.arange(units) * len(keep) // units, keep)


def test_greedy_selection_by_hand() -> None:
    """Units give 4, 1, 0 and 3, in all 8. Times four, 1 + 0 … : the first alone gives 16, the second 4, the last 12: of
    distances 8, 4, 8, 4 the first least is unit 1. With it, halves of (1 + 4), (1 + 0), (1 + 3) times four: 10, 2, 8:
    unit 3."""
    z = torch.tensor([[4.0], [1.0], [0.0], [3.0]])
    assert Greedy().choose(lambda: Outputs(z), place(4, 1), fresh=False).tolist() == [1]
    assert Greedy().choose(lambda: Outputs(z), place(4, 2), fresh=False).tolist() == [1, 3]


@pytest.mark.parametrize("candidates", [None, 3])
def test_greedy_selection_with_products_is_the_one_without(candidates: int | None) -> None:
    z = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    one, other = (
        Greedy(candidates, reuse).choose(lambda: Outputs(z), place(20, 3, 5), fresh=False) for reuse in (True, False)
    )
    assert one.tolist() == other.tolist()
    assert len(one) == 8


def test_few_candidates_choose_otherwise_and_by_seed() -> None:
    z = torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    found = [
        Greedy(c, seed=s).choose(lambda: Outputs(z), place(30, 9), fresh=False).tolist()
        for c, s in ((None, 0), (2, 0), (2, 0), (2, 1))
    ]
    assert found[1] == found[2] != found[3]
    assert found[0] != found[1]


def test_greedy_units_count_as_in_an_average() -> None:
    assert Greedy().factor(12, 3) == 4
    assert Greedy(rescale=False).factor(12, 3) == 1
    assert Pursuit().factor(12, 3) == 1


def test_the_heaviest_of_each_part() -> None:
    z = torch.tensor([[1.0], [-5.0], [2.0], [9.0], [7.0], [8.0]])
    assert Heaviest().choose(lambda: Outputs(z), place(6, 1, 1), fresh=False).tolist() == [1, 3]
    assert Heaviest("signed").choose(lambda: Outputs(z), place(6, 1, 1), fresh=False).tolist() == [2, 3]
    assert Heaviest().choose(lambda: Outputs(z), place(6, 3), fresh=False).tolist() == [3, 4, 5]


def test_pursuit_stays_within_parts() -> None:
    z = torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
    z[:6] *= 10
    kept = Pursuit(5).choose(lambda: Outputs(z), place(12, 2, 2), fresh=False)
    assert np.bincount(kept.numpy() // 6).tolist() == [2, 2]
    assert (Pursuit(5).choose(lambda: Outputs(z), place(12, 4), fresh=False) < 6).all()


def test_fresh_samples_are_asked_for_in_every_iteration() -> None:
    drawn = []

    def see() -> Outputs:
        drawn.append(Outputs(torch.eye(6)))
        return drawn[-1]

    Pursuit(7).choose(see, place(6, 2), fresh=True)
    assert len(drawn) == 7
    same = Outputs(torch.eye(6))
    Pursuit(7).choose(lambda: same, place(6, 2), fresh=False)
    assert same.asked == 2  # a choice that repeats is final


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Pursuit(0), "iters must be a whole number of at least 1"),
        (lambda: Pursuit(mass="l1"), "mass must be one of 'absolute', 'signed', not 'l1'"),
        (lambda: Pursuit(statistics="train"), "statistics must be one of 'stored', 'batch', not 'train'"),
        (lambda: Greedy(0), "candidates must be a whole number of at least 1"),
        (lambda: Sampling(0), "samples must be a whole number of at least 1"),
        (lambda: Sampling(memory=-1), "memory must be a whole number of at least 0"),
        (lambda: Sampling(fresh=1), "fresh must be True or False"),
        (lambda: Recover(ridge=0.0), "ridge"),
        (lambda: nk.methods.gfs(nk.Ratio(0.5), seed="a"), "seed must be a whole number .*, not 'a'"),
        (lambda: nk.methods.random(nk.Ratio(0.5), seed=1.5), "seed must be a whole number .*, not 1.5"),
        (lambda: nk.scores.Random(2**60), r"seed must be a whole number \(of at most 2\*\*43\)"),
        (lambda: nk.methods.magnitude(nk.Ratio(0.5), score=nk.scores.L1), "a score is a value such as .*, not <class"),
        (lambda: Recover(tune=-1), "tune must be a whole number of at least 0"),
        (lambda: Recover(selector="pursuit"), "selector must be a Selector"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make: Any, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        make()
