"""Proximal steps that would change nothing are told before any is made."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.schedules import per_round

RATE = 5e-5


def begun(alpha: float, *, warmup: float | None = None, dtype: torch.dtype = torch.float32) -> None:
    """A run at rates of fine-tuning. ``warmup``: with a schedule, which begins at a rate of 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).to(dtype)
    method = nk.methods.spur(0.5, rounds=1, steps=10, alpha=alpha, proximal=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    if warmup is not None:
        torch.optim.lr_scheduler.LambdaLR(optimizer, per_round(method.rounds, warmup))
    nk.Pruning(model, optimizer, method, torch.ones(1, 6, dtype=dtype))


def test_an_optimizer_without_a_rate_is_no_trouble() -> None:
    """Adafactor of transformers finds its own."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    optimizer = Adafactor(model.parameters())
    assert optimizer.param_groups[0]["lr"] is None
    nk.Pruning(model, optimizer, nk.methods.imp(0.5, rounds=1, steps=10), torch.ones(1, 6))
    proximal = nk.methods.spur(0.5, rounds=1, steps=10, alpha=10.0, proximal=True)
    with pytest.raises(BadInput, match=r"the learning rate times alpha, and Adafactor tells none"):
        nk.Pruning(model, optimizer, proximal, torch.ones(1, 6))


@pytest.mark.parametrize("warmup", [None, 0.5])
def test_what_is_lost_in_the_type_of_the_weights_is_told(
    caplog: pytest.LogCaptureFixture, warmup: float | None
) -> None:
    with caplog.at_level(logging.WARNING, "niwaki"):
        begun(1e-4, warmup=warmup)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        "spur: proximal steps of 5e-09 (alpha 0.0001 × learning rate 5e-05) change nothing in 2 of 2"
    )
    assert "0.weight" in told
    assert "lost in torch.float32. Keep the weights in a finer type, or raise alpha" in told


def test_coarser_types_lose_more(caplog: pytest.LogCaptureFixture) -> None:
    begun(10.0, dtype=torch.bfloat16)
    assert "lost in torch.bfloat16" in caplog.text


@pytest.mark.parametrize("alpha", [0.0, 3.0, 30.0])
def test_nothing_is_told_of_what_counts(caplog: pytest.LogCaptureFixture, alpha: float) -> None:
    begun(alpha, warmup=0.5)
    assert caplog.text == ""
