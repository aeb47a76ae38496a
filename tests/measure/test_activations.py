"""Memory of a forward pass, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, UnreachableTarget


class Wide(nn.Module):
    """Keeps its first result until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.up(x)
        y = torch.relu(kept)
        y = torch.relu(y)
        return torch.as_tensor(self.down(y + kept))


class Reading(nn.Module):
    """Reads values, so that it cannot be run without memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y * 2 if y.sum().item() > 0 else y * 3


HAND: dict[str, tuple[nn.Module, Tensor, int]] = {
    # the first linear layer's result and that of the ReLU
    "chain": (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.ones(2, 4), 4 * (12 + 12)),
    "in place": (
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)),
        torch.ones(2, 4),
        4 * (12 + 4),
    ),
    # in the end: what is kept, the second ReLU's result, their sum, and the last layer's result
    "kept": (Wide(), torch.ones(3, 4), 4 * 3 * (64 + 64 + 64 + 4)),
    "views": (nn.Sequential(nn.Linear(4, 6), nn.Flatten(), nn.Unflatten(1, (2, 3))), torch.ones(2, 4), 4 * 12),
    # the result, the comparison's sum (one number, read), and the product
    "read": (Reading(), torch.ones(2, 4), 4 * (16 + 16)),
}


@pytest.mark.parametrize("name", HAND)
def test_the_most_that_is_alive_at_once(name: str) -> None:
    model, x, wanted = HAND[name]
    assert nk.measure.activations(model, x) == wanted
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert nk.measure.peak_memory(model, x) == weights + 4 * x.numel() + wanted
    assert model.training


def test_a_model_without_weights_is_measured_too() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model, x = Wide(), torch.ones(3, 4)
        assert nk.measure.activations(model, x) == HAND["kept"][2]


@pytest.mark.parametrize("remain", [0.4, 0.6, 0.8])
def test_a_target_of_memory_is_met(remain: float) -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 3))
    x = torch.ones(2, 3, 16, 16)
    plan = nk.plan(nk.trace(model, x), nk.scores.L1(), nk.Memory(remain))
    share = nk.measure.peak_memory(nk.cut(model, plan), x) / nk.measure.peak_memory(model, x)
    assert remain - 0.05 <= share <= remain
    assert plan.made_by["target"]["kind"] == "Memory"


def test_models_that_read_values_have_memory_too() -> None:
    plan = nk.plan(nk.trace(Chain(), torch.ones(2, 4)), nk.scores.L1(), nk.Memory(0.6))
    before, after = (nk.measure.peak_memory(m, torch.ones(2, 4)) for m in (Chain(), nk.cut(Chain(), plan)))
    assert after <= 0.6 * before


class Chain(Reading):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 2)
        for weight in self.layer.parameters():  # the sum is positive, whatever is cut
            nn.init.uniform_(weight, 0.1, 1.0, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        found: Any = self.last(super().forward(x))
        return torch.as_tensor(found)


def test_what_cannot_be_had_is_told() -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.ones(2, 4)
    with pytest.raises(UnreachableTarget, match="bytes of peak memory"):
        nk.plan(nk.trace(model, x), nk.scores.L1(), nk.Memory(0.01))
    with pytest.raises(BadInput, match="above 0 and at most 1"):
        nk.Memory(0)
