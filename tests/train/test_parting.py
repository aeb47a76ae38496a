"""How far what goes had parted from what stays is recorded, and told where a penalty came to nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.methods import Choose, Cut, Hold, Mask, Method, Press, Sequence
from niwaki.schedules import Constant

INPUTS = torch.ones(4, 6)


def trained(
    method: Method, dtype: torch.dtype, rate: float, rows: list[dict[str, Any]], *, loss: float = 0.0
) -> nn.Module:
    """By plain SGD on a loss of nothing, so that penalties alone move the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    run = nk.Pruning(model, optimizer, method, INPUTS.to(dtype), record=rows.append)
    while not run.finished:
        optimizer.zero_grad()
        (loss * model(INPUTS.to(dtype)).square().mean()).backward()
        run.step()
    return model


def pressing(steps: int, *ends: Any) -> Method:
    return Method("mine", Sequence((Choose(target=nk.Ratio(0.5)), Press(schedule=Constant(1.0), steps=steps), *ends)))


def test_steps_that_the_type_of_the_weights_cannot_hold_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A weight of bfloat16 has 8 bits: less than a 512th of it, taken away, changes nothing."""
    rows: list[dict[str, Any]] = []
    trained(pressing(400, Cut()), torch.bfloat16, 0.001, rows)
    (told,) = caplog.messages
    assert told.startswith("mine: what goes has hardly been pressed in 1 of 1 ('0': on average what stays is 1.")
    (ratio,) = rows[-1]["parted"].values()
    assert 1 < ratio < 2

    caplog.clear()
    trained(pressing(400, Cut()), torch.float32, 0.005, rows)
    assert not caplog.messages
    assert rows[-1]["event"] == "cut"
    # Each step leaves 1 - 0.005 of what is pressed, and all of the rest.
    assert rows[-1]["parted"]["0"] == pytest.approx(ratio / 0.995**400, rel=0.02)


def test_what_was_never_pressed_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[dict[str, Any]] = []
    trained(Method("mine", Sequence((Choose(target=nk.Ratio(0.5)), Cut()))), torch.float32, 0.1, rows)
    assert rows[-1]["parted"] == {}
    assert not caplog.messages


def test_nothing_is_told_of_what_is_zero(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[dict[str, Any]] = []
    trained(pressing(3, Mask(), Hold(2), Cut()), torch.float32, 0.1, rows)
    assert rows[-1]["parted"] == {"0": None}
    assert not caplog.messages


def test_single_weights_are_told_where_they_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    parts = (
        Choose(target=nk.Ratio(0.5), of="weights"),
        Press(schedule=Constant(1.0), steps=2, of="weights"),
        Mask(),
    )
    trained(Method("mine", Sequence(parts)), torch.float32, 1e-6, [])
    assert not caplog.messages  # the smaller half of single weights is far below the other
    trained(
        Method("mine", Sequence((Choose(nk.scores.Random(1), nk.Ratio(0.5), of="weights"), *parts[1:]))),
        torch.float32,
        1e-6,
        [],
    )
    (told,) = caplog.messages
    assert "hardly been pressed in 2 of 2 ('0.weight', '2.weight'" in told
