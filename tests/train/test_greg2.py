"""GReg-2 step by step on known weights: no gradient but the penalty's, plain SGD, every factor worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.methods import Choose, Cut, Hold, Press, Spread, sequence
from niwaki.penalties import Ridge
from niwaki.schedules import Ramp

LR = 0.1
SETTINGS = {"pick_grow": 0.5, "pick_at": 1.0, "grow": 1.0, "every": 2, "ceiling": 2.5, "restore": 0.5, "hold": 3}


def net() -> nn.Sequential:
    """Three hidden units of weight 0.5, -1 and 2: the first is the least."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([[0.5], [-1.0], [2.0]]))
    return made.eval()


def greg2(**settings: Any) -> nk.methods.Method:
    return nk.methods.greg2(nk.Ratio(1 / 3), **{**SETTINGS, "parted": None, **settings})


def pruning(model: nn.Module, method: nk.methods.Method, **options: Any) -> nk.Pruning:
    return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=LR), method, torch.ones(2, 1), **options)


def step(run: nk.Pruning, gradient: torch.Tensor | None = None) -> None:
    """One step in which the loss has no gradient but this one, of the first layer's weight."""
    for p in run.model.parameters():
        p.grad = torch.zeros_like(p)
    if gradient is not None:
        run.model[0].weight.grad.add_(gradient)
    run.step()


# Factors on the picked unit and on the kept ones, in every step: 0.5 and 1 on all alike for two steps each; then 2 and
# 3 (above the ceiling of 2.5: done) on the picked one, with -0.5 on the others, which holds for three steps more.
FACTORS = [(0.5, 0.5)] * 2 + [(1.0, 1.0)] * 2 + [(2.0, -0.5)] * 2 + [(3.0, -0.5)] + [(3.0, -0.5)] * 3


def test_every_weight_follows_the_three_phases() -> None:
    model = net()
    run = pruning(model, greg2())
    weights = [0.5, -1.0, 2.0]
    for k, (picked, kept) in enumerate(FACTORS):
        assert run.chosen == ({} if k <= 3 else {"0": (0,)}), k
        step(run)
        weights = [w * (1 - LR * (picked if u == 0 else kept)) for u, w in enumerate(weights)]
        if k < len(FACTORS) - 1:
            assert run.pressure == {"0": picked}, k
            assert run.kept_pressure == {"0": kept}, k
            assert model[0].weight.flatten().tolist() == pytest.approx(weights), k
    assert run.finished
    assert run.steps == 10
    assert model[0].weight.flatten().tolist() == pytest.approx(weights[1:])


def test_units_are_picked_after_the_spreading_not_before() -> None:
    """The loss holds the first unit up and lets the second shrink: when units are picked, the second is the least."""
    model = net()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.5], [-0.6], [2.0]]))
    run = pruning(model, greg2())
    for _ in range(5):
        step(run, torch.tensor([[-0.5], [0.0], [0.0]]))
    assert run.chosen == {"0": (1,)}


def test_the_phases_are_in_the_record() -> None:
    rows: list[dict[str, Any]] = []
    run = pruning(net(), greg2(), record=rows.append)
    while not run.finished:
        step(run)
    assert [(r["step"], r["phase"]) for r in rows if r["event"] == "phase"] == [
        (0, "spread"),
        (4, "press"),
        (7, "hold"),
    ]
    assert [(r["step"], r["penalty"]) for r in rows if r["event"] == "press"] == [
        (0, 0.5),
        (2, 1.0),
        (4, 2.0),
        (6, 3.0),
    ]
    assert all({"norms", "spread"} <= row.keys() for row in rows if row["event"] == "press")
    assert [r["step"] for r in rows if r["event"] == "choose"] == [4]


@pytest.mark.parametrize(
    ("pick_grow", "pick_at", "reached"),
    [(0.5, 1.0, 1.0), (0.008, 0.01, 0.016), (1e-5, 0.01, 0.01), (0.2, 0.05, 0.2), (0.01, 0.07, 0.07)],
)
def test_the_second_phase_goes_on_from_where_the_first_ends(pick_grow: float, pick_at: float, reached: float) -> None:
    """Where ``pick_at`` lies between two factors, the penalty must not fall at the pick."""
    settings = {"grow": 2.0, "every": 1, "ceiling": 5.0, "hold": 1, "pick_grow": pick_grow, "pick_at": pick_at}
    method = nk.methods.greg2(nk.Ratio(0.5), **settings)
    spread, press = method.body.parts[0], method.body.parts[2]
    assert spread.reached == press.schedule.start == pytest.approx(reached, rel=1e-12)
    if pick_grow > 1e-3:
        rows: list[dict[str, Any]] = []
        run = pruning(net(), method, record=rows.append)
        while not run.finished:
            step(run)
        factors = [row["penalty"] for row in rows if row["event"] == "press"]
        assert factors == sorted(factors)
        before = [row["event"] for row in rows].index("choose")
        assert [row["penalty"] for row in rows[:before] if row["event"] == "press"][-1] == pytest.approx(reached)
    assert Spread(schedule=Ramp(0.25, start=0.5), ceiling=0.3).reached == 0.75  # after the one update that it makes


def test_a_group_stops_by_its_own_ratio() -> None:
    """The first group's units have parted from the start, the second's never do: its factor grows to the ceiling."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.001], [1.0]]))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    method = nk.methods.greg2(nk.Ratio(0.5), **{**SETTINGS, "every": 1, "parted": 10.0, "restore": 1e-6})
    run = pruning(model, method)
    for _ in range(5):
        assert not run.finished
        step(run)
    assert run.pressure == {"0": 2.0, "2": 3.0}


def test_what_a_ratio_leaves_whole_is_not_pressed_either() -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    run = pruning(model, nk.methods.greg2(nk.Ratio({"2": 0.5}), **SETTINGS))
    step(run)
    assert run.pressure == run.kept_pressure == {"2": 0.5}


def test_the_kept_slices_of_other_groups_are_left_alone() -> None:
    """Two groups make halves of one weight: pressing all of one leaves the other as it is."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(1, 6), nn.Linear(2, 1), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = self.a(x).split([self.b.in_features, self.c.in_features], dim=-1)
            return self.b(left) + self.c(right)

    model = Halves().eval()
    before = model.a.weight.detach().clone()
    graph = nk.trace(model, torch.ones(2, 1))
    first = next(g for g in graph.groups if len(g) == 2)
    run = pruning(model, nk.methods.greg2(nk.Ratio({first.name: 0.5}), **SETTINGS), graph=graph)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    run.step()
    assert torch.equal(model.a.weight[2:], before[2:])
    assert torch.allclose(model.a.weight[:2], before[:2] * 0.95)


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 5, 7, 9, 10])
def test_it_resumes_in_the_middle_of_any_phase(stop: int) -> None:
    whole = pruning(net(), greg2())
    for _ in range(11):
        step(whole)
    first = pruning(net(), greg2())
    for _ in range(stop):
        step(first)
    state, model = first.state_dict(), first.model.state_dict()
    second = pruning(net(), greg2())
    second.load_state_dict(state)
    second.model.load_state_dict(model)
    assert second.kept_pressure == first.kept_pressure
    for _ in range(11 - stop):
        step(second)
    assert (second.steps, second.finished) == (11, True)
    for left, right in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_parts_of_the_method_are_those_of_the_paper() -> None:
    method = nk.methods.greg2(nk.Ratio(0.5))
    assert method.body == sequence(
        Spread(Ridge(), Ramp(1e-5, 10), ceiling=0.01, target=nk.Ratio(0.5)),
        Choose(nk.scores.L1(), nk.Ratio(0.5)),
        Press(Ridge(), Ramp(1e-4, 10, start=0.01), ceiling=1.0, parted=1000.0, each=True, restore=1e-4),
        Hold(5_000),
        Cut(),
    )
    assert method.takes_time
    assert len(method.departs) > len(nk.methods.greg1(nk.Ratio(0.5)).departs)


def test_the_control_presses_with_one_factor_from_the_first_step() -> None:
    run = pruning(net(), nk.methods.fixreg(nk.Ratio(1 / 3), factor=2.0, steps=3, hold=2))
    weight = 0.5
    for _ in range(4):
        step(run)
        weight *= 1 - LR * 2.0
        assert run.pressure == {"0": 2.0}
        assert run.kept_pressure == {}
        assert run.model[0].weight[0].item() == pytest.approx(weight)
    step(run)
    assert run.finished
    assert run.model[0].out_features == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"restore": -1.0},
        {"pick_at": 0.0},
        {"ceiling": 0.01},
        {"pick_at": 1.0},
        {"pick_grow": float("nan")},
        {"every": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(nk.errors.BadInput, match=r"must be a|not below the ceiling"):
        nk.methods.greg2(nk.Ratio(0.5), **wrong)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), None])
def test_the_control_presses_down(factor: Any) -> None:
    with pytest.raises(nk.errors.BadInput, match="factor must be a number above 0"):
        nk.methods.fixreg(nk.Ratio(0.5), factor=factor)
