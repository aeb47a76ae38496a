"""What is said to have limited a width: against plans worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.graph import Graph
from niwaki.recipes.limits import blocked, limits, target_of
from niwaki.report import Limit
from niwaki.targets import Target
from niwaki.tracing import trace
from tests.forecast.test_forecast import made_up

FIRST, SECOND = "0.weight", "2.weight"


def plain() -> Graph:
    """Two groups: 12 units, made by the first layer, and 20, made by the second."""
    return trace(
        nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 3)), torch.zeros(2, 6)
    )


def told(graph: Graph, target: Target, asked: Target | None = None, **more: Any) -> dict[int, Limit]:
    """By the number of units that a group has: its limit under a plan for ``target``, if ``asked`` was the method's."""
    plan = nk.plan(graph, nk.scores.L1(), target)
    found = limits(graph, nk.methods.magnitude(asked or target), plan, **more)
    assert [one.group for one in found] == [group.name for group in graph.groups]
    return {len(graph[one.group]): one for one in found}


@pytest.mark.parametrize(
    ("target", "causes", "said"),
    [
        (nk.Ratio(0.5), ("share", "share"), "50% of its units"),
        # 6 and 10 would stay; 8 and 16 do.
        (nk.Ratio(0.5, round_to=8), ("rounding", "rounding"), "6 by its share; units are left in multiples of 8"),
        # 0.95 × 12 = 11.4 would take all twelve; 0.95 × 20 = 19 leaves one by itself.
        (nk.Ratio(0.95), ("one", "share"), "its share would leave none"),
        (nk.Ratio(0.5, scope="global"), ("competition", "competition"), "its scores beside those of all other groups"),
        (nk.Macs(0.4), ("share", "share"), "as all groups"),
    ],
)  # fmt: skip
def test_causes(target: Target, causes: tuple[str, str], said: str) -> None:
    found = told(plain(), target)
    assert (found[12].cause, found[20].cause) == causes
    assert said in found[12].detail


def test_what_the_target_leaves_out() -> None:
    graph = plain()
    small = next(group.name for group in graph.groups if len(group) == 12)
    for target in (nk.Ratio(0.5, skip=small), nk.Ratio({small: 0.0, "*": 0.5}), nk.Macs(0.6, skip=small)):
        found = told(graph, target)
        assert found[12].cause == "left out"
        assert found[20].cause == "share"


def test_where_the_last_step_was_not_needed() -> None:
    """Groups of the same size give the same share, but for the last step, which the first ones give first."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(16, 16), nn.ReLU())]
    graph = trace(nn.Sequential(*layers, nn.Linear(16, 3)), torch.zeros(2, 16))
    target = nk.Params(0.5, round_to=4)
    plan = nk.plan(graph, nk.scores.L1(), target)
    kept = [plan.choices[group.name].kept for group in graph.groups]
    assert len(set(kept)) == 2
    found = limits(graph, nk.methods.magnitude(target), plan)
    assert {one.cause for one, left in zip(found, kept, strict=True) if left == max(kept)} == {"budget"}
    assert all(f"go on to {min(kept)}" in one.detail for one in found if one.cause == "budget")


def test_parts_that_must_stay_equal() -> None:
    """Three tenths of eight are three, rounded up, and two parts cannot lose three alike."""
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 8, 1, groups=2), nn.Flatten(), nn.Linear(8, 3))
    found = told(trace(net, torch.zeros(2, 3, 1, 1)), nk.Ratio(0.3))
    assert found[8].cause == "balance"
    assert found[8].detail == "5 by its share; its 2 parts must lose equally many"


def test_a_latency_target_weighs_worth_against_time() -> None:
    found = told(plain(), nk.Ratio(0.5), nk.Latency(0.5))
    assert found[12].cause == found[20].cause == "latency"
    assert told(plain(), nk.Ratio(0.95), nk.Latency(0.5))[12].cause == "one"
    assert told(plain(), nk.Ratio(0.5, round_to=8), nk.Latency(0.5, round_to=8))[12].cause == "rounding"


def test_what_is_not_known_is_not_made_up() -> None:
    """More went than the target asked for; the method has no target; it cuts nothing."""
    assert told(plain(), nk.Ratio(0.5), nk.Ratio(0.2))[12].cause == "unknown"
    assert told(plain(), nk.Ratio(0.2), nk.Ratio(0.5))[12].cause == "unknown"
    graph = plain()
    zeros = nk.methods.imp(0.5, rounds=1, steps=1)
    assert target_of(zeros) is None
    plan = nk.plan(graph, nk.scores.L1(), nk.Ratio(0.5))
    assert {one.cause for one in limits(graph, zeros, plan)} == {"unknown"}
    whole = nk.plan(graph, nk.scores.L1(), nk.Ratio(0.0))
    assert limits(graph, nk.methods.magnitude(nk.Ratio(0.0)), whole) == []


def test_the_widths_that_a_runtime_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of widths that are no multiple of four take ten times as long."""

    def slow(task: Any) -> float:
        return float(task.macs * (10 if task.made % 4 or task.source % 4 else 1) + 1)

    monkeypatch.setattr("tests.forecast.test_forecast.ms_of", slow)
    graph = trace(
        nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64)), torch.zeros(2, 64)
    )
    forecasts = [made_up(graph)]
    assert "a multiple of 4, which PyTorch likes" in told(graph, nk.Ratio(0.5), forecasts=forecasts)[64].detail
    odd = told(graph, nk.Ratio(0.51), forecasts=forecasts)[64].detail
    assert "; PyTorch likes multiples of 4: others cost up to " in odd


class Residual(nn.Module):
    """Two layers that make the same units."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        made: Tensor = self.head(x + self.body(x))
        return made


def test_layers_that_are_tied_are_named() -> None:
    (one,) = told(trace(Residual(), torch.zeros(2, 4)), nk.Ratio(0.5)).values()
    assert sorted(one.tied) == ["body", "stem"]
    assert told(plain(), nk.Ratio(0.5))[12].tied == ()


def test_what_is_blocked_is_told_with_its_reason() -> None:
    graph = plain()
    found = blocked(graph)
    assert sum(one.count for one in found) == len(graph.blocked)
    assert [one.entries for one in found] == sorted((one.entries for one in found), reverse=True)
    reasons = {str(reason) for reason in graph.blocked.values()}
    assert {one.reason for one in found} <= reasons
