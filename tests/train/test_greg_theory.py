"""What the paper proves of GReg-2 on quadratic losses (Sec. 3.3), held numerically on the engine itself."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.methods import Choose, Cut, Method, Spread, sequence
from niwaki.penalties import Ridge
from niwaki.schedules import Ramp

DOUBLE = torch.float64


def hessian(seed: int, n: int, *, least: float = 0.1) -> Tensor:
    """A random symmetric positive definite matrix, n × n."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=DOUBLE)
    return root @ root.T / n + least * torch.eye(n, dtype=DOUBLE)


def descended(curvature: Tensor, optimum: Tensor, method: Method, steps: int, rate: float) -> nk.Pruning:
    """Gradient descent on ``½ (w - w*)ᵀ H (w - w*)``, one unit per weight, under the method's penalty."""
    model = nn.Sequential(nn.Linear(1, optimum.numel()), nn.ReLU(), nn.Linear(optimum.numel(), 1)).double().eval()
    with torch.no_grad():
        model[0].weight.copy_(optimum[:, None])
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=rate), method, torch.ones(1, 1, dtype=DOUBLE))
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        weight = model[0].weight
        weight.grad = (curvature @ (weight.detach().flatten() - optimum))[:, None]
        run.step()
    return run


def spread_to(factor: float, steps: int) -> Method:
    """All units under one factor for so many steps."""
    target = nk.Ratio(0.5)
    return Method("spread", sequence(Spread(Ridge(), Ramp(factor, steps + 1), factor, target), Choose(), Cut()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [0.05, 0.5, 5.0])
def test_weights_shrink_to_the_new_minimum(seed: int, factor: float) -> None:
    """Eq. 5: ŵ = (H + δλ I)⁻¹ H w*."""
    h = hessian(seed, 6)
    optimum = torch.randn(6, generator=torch.Generator().manual_seed(seed + 10), dtype=DOUBLE)
    rate = 1 / float(torch.linalg.eigvalsh(h).max() + factor)
    run = descended(h, optimum, spread_to(factor, 3000), 3000, rate)
    wanted = torch.linalg.solve(h + factor * torch.eye(6, dtype=DOUBLE), h @ optimum)
    assert torch.allclose(run.model[0].weight.flatten(), wanted, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(wanted, optimum, rtol=1e-2)


def test_a_diagonal_shrinks_each_weight_by_its_own_curvature() -> None:
    """Eq. 6: r = 1 / (δλ / h + 1)."""
    h = torch.tensor([0.1, 0.4, 2.0], dtype=DOUBLE)
    optimum = torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE)
    run = descended(torch.diag(h), optimum, spread_to(0.4, 2000), 2000, 0.4)
    ratio = run.model[0].weight.detach().flatten() / optimum
    assert ratio.tolist() == pytest.approx([1 / (0.4 / 0.1 + 1), 1 / (0.4 / 0.4 + 1), 1 / (0.4 / 2.0 + 1)])


@pytest.mark.parametrize("seed", range(8))
def test_of_two_weights_the_one_with_more_curvature_keeps_more(seed: int) -> None:
    """Eqs. 7 and 8: with |H + δλ I| the determinant, r1 - r2 = (h11 - h22) δλ / |H + δλ I|, up to δλ h12."""
    h, factor = hessian(seed, 2), 1e-3
    optimum = torch.ones(2, dtype=DOUBLE)
    run = descended(h, optimum, spread_to(factor, 4000), 4000, 1 / float(torch.linalg.eigvalsh(h).max() + factor))
    moved = run.model[0].weight.detach().flatten()
    # The cross term that the paper drops: each weight also moves with the other's, by δλ h12 / |H + δλ I|.
    determinant = torch.linalg.det(h + factor * torch.eye(2, dtype=DOUBLE))
    ratio = moved - factor * h[0, 1] / determinant
    difference = (h[0, 0] - h[1, 1]) * factor / determinant
    assert float(ratio[0] - ratio[1]) == pytest.approx(float(difference), rel=1e-6, abs=1e-10)
    assert (ratio[0] > ratio[1]) == (h[0, 0] > h[1, 1])


def curved() -> tuple[Tensor, Tensor]:
    """Eight weights: the loss is flat in the four *largest*, so that magnitude removes just what it needs."""
    optimum = torch.tensor([1.0, 1.1, 1.2, 1.3, 0.5, 0.6, 0.7, 0.8], dtype=DOUBLE)
    curvature = torch.tensor([1e-3] * 4 + [1.0] * 4, dtype=DOUBLE)
    return torch.diag(curvature), optimum


def test_the_flat_directions_are_picked_where_magnitude_picks_the_others() -> None:
    h, optimum = curved()
    settings = {"pick_grow": 1e-4, "pick_at": 0.01, "grow": 0.1, "every": 100, "hold": 0}
    run = descended(h, optimum, nk.methods.greg2(nk.Ratio(0.5), **settings), 10_001, 0.5)
    assert run.chosen == {"0": (0, 1, 2, 3)}
    greedy = descended(h, optimum, nk.methods.greg1(nk.Ratio(0.5)), 1, 0.5)
    assert greedy.chosen == {"0": (4, 5, 6, 7)}

    def loss(gone: tuple[int, ...]) -> float:
        w = optimum.clone()
        w[list(gone)] = 0.0
        return float((w - optimum) @ h @ (w - optimum)) / 2

    assert loss(run.chosen["0"]) < 0.01 * loss(greedy.chosen["0"])


def test_the_spread_of_norms_grows_with_the_factor() -> None:
    """Fig. 1, row 1: standard deviation over mean of the norms, at each factor of the ramp."""
    rows: list[dict[str, object]] = []
    generator = torch.Generator().manual_seed(0)
    h = torch.diag(torch.exp(torch.randn(16, generator=generator, dtype=DOUBLE)))
    optimum = torch.ones(16, dtype=DOUBLE)
    method = Method("spread", sequence(Spread(Ridge(), Ramp(0.1, 100), 2.0, nk.Ratio(0.5)), Choose(), Cut()))
    model = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    run = nk.Pruning(model, optimizer, method, torch.ones(1, 1, dtype=DOUBLE), record=rows.append)
    while not run.finished:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        model[0].weight.grad = (h @ (model[0].weight.detach().flatten() - optimum))[:, None]
        run.step()
    spreads = [row["spread"] for row in rows if row["event"] == "press"]
    assert len(spreads) == 20
    assert spreads[0] == 0.0
    assert all(later > earlier for earlier, later in pairwise(spreads))
