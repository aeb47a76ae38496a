"""What the paper proves holds of what we compute: Lemma 1, Theorem 2, Lemma 3, Theorem 4 and Theorem 5.

Every law is also held against something broken, and must fail there: a bound that nothing can break proves nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery import TwoLayer, bounds, compressible, ispasp, looks, magnitude, pursue, random
from niwaki.recovery.compressible import slope
from niwaki.recovery.isometry import ASSUMED, isometry, isometry_bound

UNITS, ITERS = 40, 8
PS = (0.25, 0.5, 0.75, 0.9)


def gaussian(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthonormal(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(gaussian(rows, columns, seed)).Q


def edge() -> Tensor:
    """The squared singular values lie evenly between 0.9 and 1.1: the assumption just holds, for all sizes."""
    squares = torch.linspace(1 - ASSUMED, 1 + ASSUMED, UNITS, dtype=torch.float64)
    return orthonormal(UNITS + 5, UNITS, 1) * squares.sqrt() @ orthonormal(UNITS, UNITS, 2).T


def simplex() -> Tensor:
    """40 columns in 39 dimensions, so that they depend on one another, and yet any four are nearly at right angles."""
    values, vectors = torch.linalg.eigh((1 + 1 / 39) * torch.eye(40, dtype=torch.float64) - 1 / 39)
    return (vectors * values.clamp(min=0).sqrt()).T


# W1, and the numbers of units kept for which the assumption is checked to hold.
SECONDS: dict[str, tuple[Tensor, tuple[int, ...]]] = {
    "identity": (torch.eye(UNITS, dtype=torch.float64), (1, 3, 10)),
    "orthonormal": (orthonormal(60, UNITS), (1, 3, 10)),
    "gaussian": (gaussian(20_000, UNITS, 3) / math.sqrt(20_000), (1, 3, 10)),
    "edge": (edge(), (1, 3, 10)),
    "simplex": (simplex(), (1,)),
}


def outliers(seed: int) -> Tensor:
    """Three heavy rows on a floor of noise: no power describes it."""
    hidden = 0.01 * gaussian(UNITS, 30, seed).abs()
    hidden[[5, 17, 31]] += gaussian(3, 30, seed + 1).abs()
    return hidden


def signed(seed: int) -> Tensor:
    """Entries of both signs, as layers without a ReLU have, with masses above 0."""
    made = compressible(0.5, UNITS, 30, seed=seed)
    noise = gaussian(UNITS, 30, seed)
    return made + noise - noise.mean(1, keepdim=True)


HIDDENS: dict[str, Callable[[int], Tensor]] = {
    **{f"p = {p}": (lambda seed, p=p: compressible(p, UNITS, 30, seed=seed)) for p in PS},
    "outliers": outliers,
    "signed": signed,
    "all alike": lambda seed: torch.ones(UNITS, 30, dtype=torch.float64),
}
POSITIVE = [name for name in HIDDENS if name != "signed"]

Pursue = Callable[[TwoLayer, int], Iterator[Tensor]]


def kept_by_i_spasp(model: TwoLayer, keep: int) -> Iterator[Tensor]:
    """What is kept after each iteration, as masks, with nothing first."""
    look, seen = looks(lambda: model), []

    def watched(kept: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(kept)
        return look(kept)

    pursue(watched, model.units, keep, iters=ITERS + 1)
    return iter(seen)


def kept_by_a_broken_look(model: TwoLayer, keep: int) -> Iterator[Tensor]:
    """The fault: importance with the wrong sign."""
    look, seen = looks(lambda: model), []

    def broken(kept: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(kept)
        mass, importance = look(kept)
        return mass, -importance

    pursue(broken, model.units, keep, iters=ITERS + 1)
    return iter(seen)


# -- the laws ---------------------------------------------------------------------------------------------------------


def law_of_one_iteration(model: TwoLayer, keep: int, kept: Pursue) -> None:
    e = bounds.tail(model.mass, keep)
    missing = [float(model.mass[~mask].norm()) for mask in kept(model, keep)]
    assert len(missing) == ITERS + 1
    for before, after in itertools.pairwise(missing):
        assert after <= bounds.after_one_iteration(before, e, keep) * (1 + 1e-12)


def law_of_mass(model: TwoLayer, keep: int, kept: Pursue) -> None:
    for t, mask in enumerate(kept(model, keep)):
        assert float(model.mass[~mask].norm()) <= bounds.mass_missing(model.mass, keep, t) * (1 + 1e-12)


def law_of_residual(model: TwoLayer, keep: int, kept: Pursue) -> None:
    """Theorem 2 speaks of |V|_F by way of masses, so that H must not be negative."""
    for t, mask in enumerate(kept(model, keep)):
        residual = math.sqrt(model.residual(mask.nonzero().flatten()))
        assert residual <= bounds.residual(model.second, model.mass, keep, t) * (1 + 1e-12)


LAWS = {law_of_one_iteration: [*HIDDENS], law_of_mass: [*HIDDENS], law_of_residual: POSITIVE}


@pytest.mark.parametrize("second", SECONDS)
def test_the_assumption_holds_where_we_say_so(second: str) -> None:
    w, keeps = SECONDS[second]
    for keep in keeps:
        # Exactly where that can be counted, or else by a number above it.
        constant = isometry(w, 4 * keep) if 4 * keep in (4, UNITS) else isometry_bound(w, 4 * keep)
        assert constant <= ASSUMED + 1e-9


@pytest.mark.parametrize(("law", "hidden"), [(law, hidden) for law, names in LAWS.items() for hidden in names])
@pytest.mark.parametrize("second", SECONDS)
def test_the_bounds_are_never_violated(law, hidden: str, second: str) -> None:
    w, keeps = SECONDS[second]
    for keep, seed in itertools.product(keeps, range(3)):
        law(TwoLayer(HIDDENS[hidden](seed), w), keep, kept_by_i_spasp)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("second", SECONDS)
def test_a_broken_pursuit_violates_them(law, second: str) -> None:
    hidden = compressible(0.1, UNITS, 30, seed=0)  # nearly one row: to miss it is to miss all
    with pytest.raises(AssertionError):
        law(TwoLayer(hidden, SECONDS[second][0]), 1, kept_by_a_broken_look)


def test_the_assumption_is_needed() -> None:
    """The heaviest unit's weights cancel against another's: it is never looked at, whatever the bound says."""
    hidden = torch.diag(torch.tensor([1.0, 1e-4, 1e-4, 1e-4])).double()
    second = torch.tensor([[1e-3, 1, 1, 1]]).double()
    assert isometry(second, 4) > ASSUMED
    with pytest.raises(AssertionError):
        law_of_mass(TwoLayer(hidden, second), 1, kept_by_i_spasp)


# -- worked by hand ---------------------------------------------------------------------------------------------------


def test_the_bounds_by_hand() -> None:
    """Masses 3, 4, 0, 12, one kept: E has 4, 3 and 0, |e|_2 = 5 and |e|_1 = 7; |mu(H)|_2 = 13."""
    mass, second = torch.tensor([3.0, 4, 0, 12]), 2 * torch.eye(4)
    e = bounds.tail(mass, 1)
    assert sorted(e.tolist()) == [0, 3, 4]
    assert bounds.after_one_iteration(13, e, 1) == pytest.approx(0.444 * 13 + 7.333 * 5 + 3.456 * 7)
    assert bounds.mass_missing(mass, 1, 2) == pytest.approx(0.444**2 * 13 + 21 * 7)
    assert bounds.mass_missing(mass, 4, 1) == pytest.approx(0.444 * 13)
    assert bounds.residual(second, mass, 1, 2) == pytest.approx(4 * (0.444**2 * 13 + 147))


def test_one_iteration_unrolls_into_the_lemma() -> None:
    """The sum of 0.444^t is below 1 / 0.556, which turns 7.333 into 13.2 and 3.456 into 6.2; and |e|_2 <= |e|_1."""
    mass = compressible(0.6, 30, 5, seed=1).sum(1)
    for keep in (1, 4, 9):
        bound, e = float(mass.norm()), bounds.tail(mass, keep)
        for t in range(1, 30):
            bound = bounds.after_one_iteration(bound, e, keep)
            assert bound <= bounds.mass_missing(mass, keep, t)


def test_the_other_formulas_by_hand() -> None:
    assert bounds.tail_of_compressible(3.0, 0.5, 2) == pytest.approx(3 * 0.5 / 1)
    assert bounds.tail_of_compressible(1.0, 0.25, 2) == pytest.approx(2**-3 / 3)
    assert [bounds.rate(p) for p in (3 / 4, 1 / 2, 1 / 4)] == pytest.approx([-1 / 3, -1, -3])
    assert bounds.order(0.5, 4) == pytest.approx(4**-1.5 * 0.5 * 5 / 0.5)
    # Two hidden layers of 2 units, one kept, p = 1/2, R = 1: the tail is 1. W between has entries 1, 2, 0, 1, that is
    # 4 in all; the last has length 5. The last layer's error counts 21 * 5, the first's 21^2 * 5 * 4 * sqrt(2).
    weights = [torch.tensor([[1.0, 2], [0, 1]]), torch.tensor([[3.0, 4]])]
    assert bounds.chain(weights, 0.5, 1) == pytest.approx(21 * 5 + 21**2 * 5 * 4 * math.sqrt(2))
    assert bounds.chain(weights, 0.5, 1, 2.0) == pytest.approx(2 * bounds.chain(weights, 0.5, 1))


def test_one_hidden_layer_of_a_chain_is_theorem_2_with_lemma_3() -> None:
    w, mass = gaussian(5, 9, 0), torch.arange(1, 10, dtype=torch.float64) ** -2
    expected = bounds.tail_of_compressible(1.0, 0.5, 3) / float(bounds.tail(mass, 3).norm(1))
    settled = bounds.residual(w, mass, 3, 10_000)
    assert bounds.chain([w], 0.5, 3) == pytest.approx(settled * expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounds.rate(1.0),
        lambda: bounds.order(0.0, 3),
        lambda: bounds.tail_of_compressible(1.0, 1.5, 3),
        lambda: bounds.mass_missing(torch.ones(3), 0, 1),
    ],
)
def test_numbers_without_a_bound_are_refused(call) -> None:
    with pytest.raises(BadInput, match=r"between 0 and 1|at least one unit"):
        call()


# -- compressible activations -----------------------------------------------------------------------------------------


def law_of_tails(p: float, said: float) -> None:
    """Lemma 3 of a matrix that was made with ``p`` and is said to have ``said``."""
    hidden = compressible(p, 200, 60, magnitude=2.0, seed=3)
    for keep in range(1, 200):
        assert float(bounds.tail(hidden.sum(1), keep).norm(1)) <= bounds.tail_of_compressible(2.0, said, keep)


@pytest.mark.parametrize("p", PS)
def test_the_tail_of_a_compressible_matrix_is_bounded(p: float) -> None:
    law_of_tails(p, p)
    with pytest.raises(AssertionError):
        law_of_tails(p, 0.8 * p)


KEPT = (2, 3, 4, 6, 8, 11, 16, 23, 32)


def measured_rate(p: float, second: Tensor, choose: Callable[[TwoLayer, int], Tensor]) -> float:
    """The slope of ``log |V|_F`` over ``log s``, with the squared residual averaged over ten matrices."""
    models = [TwoLayer(compressible(p, second.shape[1], 60, seed=s), second) for s in range(10)]
    squares = torch.tensor([sum(m.residual(choose(m, s)) for m in models) / 10 for s in KEPT], dtype=torch.float64)
    return slope(torch.tensor(KEPT, dtype=torch.float64).log(), squares.log() / 2)


def law_of_rates(p: float, second: Tensor, choose: Callable[[TwoLayer, int], Tensor]) -> float:
    """The theorem is an upper bound: the residual falls at least as fast, within 0.05 of the exponent."""
    found = measured_rate(p, second, choose)
    assert found <= bounds.rate(p) + 0.05
    return found


WIDE = 400
INITIAL = (2 * torch.rand(WIDE, WIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1) / 20
"""As PyTorch starts a linear layer. The assumption of the theorem does not hold for it; the rate does."""


@pytest.mark.parametrize("second", [orthonormal(WIDE, WIDE), INITIAL], ids=["orthonormal", "as PyTorch starts"])
@pytest.mark.parametrize("p", [3 / 4, 1 / 2, 1 / 4])
def test_the_residual_falls_at_least_as_fast_as_proved(p: float, second: Tensor) -> None:
    law_of_rates(p, second, ispasp)
    with pytest.raises(AssertionError):
        law_of_rates(p, second, lambda model, keep: random(model.units, keep))


@pytest.mark.parametrize("p", [3 / 4, 1 / 2, 1 / 4])
def test_with_an_orthonormal_second_layer_the_rate_is_that_of_the_squares(p: float) -> None:
    """Then ``|V|_F^2`` is the sum of the squares of the rows that go, of which row i has about ``i^(-2/p)``.

    For large s that is ``s^(1/2 - 1/p)`` for ``|V|_F``: half a power faster than proved.
    """
    squares = torch.arange(1, WIDE + 1, dtype=torch.float64) ** (-2 / p)
    tails = torch.stack([squares[s:].sum() for s in KEPT])
    expected = slope(torch.tensor(KEPT, dtype=torch.float64).log(), tails.log() / 2)
    assert law_of_rates(p, orthonormal(WIDE, WIDE), ispasp) == pytest.approx(expected, abs=0.1)
    assert bounds.rate(p) - 0.5 < expected < bounds.rate(p)


# -- several layers ---------------------------------------------------------------------------------------------------

LAYERS, WIDTH = 3, 24


def law_of_chains(p: float, keep: int, seed: int, scale: float = 1.0) -> None:
    """Theorem 5 with the constant 1: hidden layers pruned from first to last, each on what the pruned ones before give.

    The magnitude is the largest measured in the layers as they were when it was their turn. The bound is many orders of
    magnitude above what happens: it holds, and says little. ``scale`` is what it is multiplied by.
    """
    weights = [orthonormal(WIDTH, WIDTH, 10 * seed + i) for i in range(LAYERS)]
    hidden = compressible(p, WIDTH, 30, seed=seed)
    dense, found = hidden, 0.0
    for w in weights:
        found = max(found, magnitude(hidden, p))
        kept = ispasp(TwoLayer(hidden, w), keep)
        output, pruned = w @ dense, w[:, kept] @ hidden[kept]
        dense, hidden = output.relu(), pruned.relu()
    residual = float((output - pruned).norm())
    assert residual <= scale * bounds.chain(weights, p, keep, found)


@pytest.mark.parametrize("p", [1 / 4, 1 / 2, 3 / 4])
@pytest.mark.parametrize("keep", [1, 4, 12])
@pytest.mark.parametrize("seed", range(3))
def test_errors_of_a_chain_of_layers_are_bounded(p: float, keep: int, seed: int) -> None:
    law_of_chains(p, keep, seed)
    with pytest.raises(AssertionError):
        law_of_chains(p, keep, seed, scale=1e-18)
