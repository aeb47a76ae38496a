"""A forecast of times that are given: what a plan leaves, what the solver chooses, how a target is met."""

from __future__ import annotations

import gc
import itertools
import random
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, CannotFollow, StalePlan, UnreachableTarget
from niwaki.forecast import Forecast, latency, profile, timing
from niwaki.forecast.forecast import Anchor, load
from niwaki.forecast.hardware import Place
from niwaki.forecast.layers import Layers
from niwaki.forecast.levels import Costs, Levels, Pair
from niwaki.forecast.model import Coefficients
from niwaki.forecast.outlook import outlook
from niwaki.forecast.shapes import Shape, Surface
from niwaki.forecast.solver import solve
from niwaki.graph import Graph
from niwaki.graph.work import Task
from niwaki.measure import Timing
from niwaki.surgery.ladders import ladder
from niwaki.testing.zoo import Specimen
from tests.laws.table import traced, varied_specimens


class Residual(nn.Module):
    """Two blocks on one stream: most layers have two groups that decide their widths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.ups = nn.ModuleList(nn.Conv2d(32, 64, 1) for _ in range(2))
        self.depths = nn.ModuleList(nn.Conv2d(64, 64, 3, padding=1, groups=64) for _ in range(2))
        self.downs = nn.ModuleList(nn.Conv2d(64, 32, 1) for _ in range(2))
        self.last = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for up, depth, down in zip(self.ups, self.depths, self.downs, strict=True):
            x = x + down(torch.relu(depth(torch.relu(up(x)))))
        found: torch.Tensor = self.last(x.mean((2, 3)))
        return found


INPUTS = torch.ones(2, 3, 8, 8)
PLACE = Place("pytorch", 1, torch.device("cpu"), torch.float32)


def ms_of(task: Task) -> float:
    """Odd widths cost more."""
    return task.macs / 1e5 * (1.3 if task.made % 4 or task.source % 4 else 1.0) + 0.01


def made_up(graph: Graph) -> Forecast:
    layers = Layers(graph)
    surfaces = {s: Surface(s, {t: ms_of(t) for t in s.tasks}) for s in layers.shapes}
    dense = load(layers, surfaces, ~graph.removed_atoms({}))
    return Forecast(
        graph, PLACE, layers, surfaces, (Anchor("dense", dense, 10.0),), Coefficients(1.1, 1.5, 2.0, 0.3), INPUTS
    )


@pytest.fixture(scope="module")
def graph() -> Graph:
    return nk.trace(Residual(), INPUTS)


def ladders_of(graph: Graph) -> list[Any]:
    tensors = dict(graph.tensors())
    return [ladder(g, nk.scores.L1()(g, tensors).double().numpy(), 1) for g in graph.groups]


def test_what_a_network_computes_is_seen(graph: Graph) -> None:
    """By hand: the volume is what ReLUs, sums and the mean write; products count by themselves."""
    layers = Layers(graph)
    assert len(layers.layers) == 8
    assert len(layers.shapes) == 5
    whole = np.ones(graph.ledger.size, bool)
    pixels = 2 * 64
    assert layers.volume(whole) == 2 * (2 * 64 * pixels + 32 * pixels) + 2 * 32
    varies = {layer.module: layer.shape.varies for layer in layers.layers}
    assert varies["first"] == {"made"}
    assert varies["depths.0"] == varies["ups.0"] == {"made", "taken"}
    assert varies["last"] == {"taken"}


class Split(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.split(x)

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how = nn.Linear(4, 12), nn.Linear(6, 2), how

    def split(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        if self.how == "chunk":
            a, b = y.chunk(2, -1)
        elif self.how == "split":
            a, b = y.split(y.shape[-1] // 2, -1)
        else:
            a, b = y.unflatten(-1, (2, -1)).unbind(-2)
        found: torch.Tensor = self.last(a * b)
        return found


@pytest.mark.parametrize("how", ["chunk", "split", "unbind"])
def test_views_write_nothing(how: str) -> None:
    """By hand: the product of both halves alone is written beside the two linear layers, (3, 6)."""
    layers = Layers(nk.trace(Split(how), torch.ones(3, 4)))
    assert layers.volume(np.ones(layers.graph.ledger.size, bool)) == 3 * 6


def test_results_of_one_operation_add_up() -> None:
    """By hand: an LSTM gives its outputs (2, 5, 8), the last state and the last cell (1, 2, 8) each."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.last = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.last(self.lstm(x)[0])
            return found

    layers = Layers(nk.trace(Tagger(), torch.ones(2, 5, 4)))
    written = [size for size, _ in layers.others]
    volume = layers.volume(np.ones(layers.graph.ledger.size, bool))
    assert 2 * 5 * 8 + 2 * 8 + 2 * 8 <= volume <= 2 * (2 * 5 * 8 + 2 * 8 + 2 * 8) + 64, written


def test_a_forecast_of_the_dense_network_is_what_was_measured(graph: Graph) -> None:
    forecast = made_up(graph)
    assert forecast.ms({}) == pytest.approx(10.0)
    plan = nk.plan(graph, nk.scores.L1(), nk.Ratio(0.5))
    assert forecast.ms(plan) == pytest.approx(forecast.ms({n: c.removed for n, c in plan.choices.items()}))
    assert forecast.speedup(plan) == pytest.approx(10.0 / forecast.ms(plan))
    assert forecast.ms(plan) < 10.0
    with pytest.raises(BadInput, match="no group is called 'up'"):
        forecast.ms({"up": (1,)})


def test_a_plan_of_another_model_is_refused(graph: Graph) -> None:
    other = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(StalePlan):
        made_up(graph).ms(nk.plan(nk.trace(other, torch.ones(1, 4))))


def test_an_outlook_counts_what_several_steps_leave(graph: Graph) -> None:
    net, plan = graph.model, nk.plan(graph)
    small = nk.cut(net, plan)
    both = plan.then(nk.plan(nk.trace(small, INPUTS)))
    share = nk.measure.macs(nk.cut(net, both), INPUTS) / nk.measure.macs(net, INPUTS)
    assert outlook(made_up(graph), "both", both).macs == pytest.approx(share)
    assert outlook(made_up(graph), "one", plan).macs == pytest.approx(
        nk.measure.macs(small, INPUTS) / nk.measure.macs(net, INPUTS)
    )


def test_a_network_that_was_timed_bends_the_forecast(graph: Graph) -> None:
    forecast = made_up(graph)
    plan = nk.plan(graph, nk.scores.L1(), nk.Ratio(0.5))
    better = forecast.with_anchor("half", plan, 4.0)
    assert [a.name for a in better.anchors] == ["dense", "half"]
    assert better.ms(plan) == pytest.approx(4.0, rel=0.05)


def test_levels_cost_what_the_forecast_says(graph: Graph) -> None:
    """At every combination of a sample: tables of one and of two groups add up to the whole."""
    forecast, ladders = made_up(graph), ladders_of(graph)
    levels = Levels(forecast, ladders)
    costs = levels.costs()
    assert costs.together
    rng = random.Random(0)
    for _ in range(20):
        chosen = [rng.randrange(len(steps)) for steps in levels.steps]
        assert costs.of(chosen) == pytest.approx(forecast.ms(levels.selection(chosen)))


@varied_specimens
def test_levels_cost_what_the_forecast_says_around_themselves(plant: Specimen) -> None:
    """Also where three groups decide how long an operation takes, or two share an axis."""
    graph = traced(plant)
    try:
        forecast = made_up(graph)
    except BadInput:
        pytest.skip("no layer that can be timed alone")
    levels = Levels(forecast, ladders_of(graph))
    rng = random.Random(0)
    for _ in range(5):
        chosen = [rng.randrange(len(steps)) for steps in levels.steps]
        assert levels.costs(chosen).of(chosen) == pytest.approx(forecast.ms(levels.selection(chosen)))
    for budget in (8.0, 5.0):
        found = latency._solved(levels, budget)
        assert found is None or forecast.ms(levels.selection(found)) <= budget * 1.02


def test_levels_are_widths_that_kernels_like(graph: Graph) -> None:
    forecast, ladders = made_up(graph), ladders_of(graph)
    levels = Levels(forecast, ladders)
    for rungs, steps in zip(ladders, levels.steps, strict=True):
        kept = [len(rungs.group) - len(rungs.chosen(k)) for k in steps]
        assert kept[0] == len(rungs.group)
        assert all(n % 4 == 0 for n in kept)
        assert kept == sorted(set(kept), reverse=True)
        assert 3 <= len(kept) <= 13


def test_worth_is_in_units_of_average_importance(graph: Graph) -> None:
    levels = Levels(made_up(graph), ladders_of(graph))
    tensors = dict(graph.tensors())
    for rungs, steps, row in zip(levels.ladders, levels.steps, levels.worth, strict=True):
        worth = nk.scores.L1()(rungs.group, tensors).double().numpy()
        for k, value in zip(steps, row, strict=True):
            gone = list(rungs.chosen(k))
            assert value == pytest.approx((worth.sum() - worth[gone].sum()) / worth.mean())


def test_units_of_no_worth_count_alike(graph: Graph) -> None:
    ladders = [ladder(g, np.zeros(len(g)), 1) for g in graph.groups]
    levels = Levels(made_up(graph), ladders)
    for rungs, steps, row in zip(ladders, levels.steps, levels.worth, strict=True):
        assert row.tolist() == [len(rungs.group) - len(rungs.chosen(k)) for k in steps]


# -- the solver ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_solver_finds_what_trying_everything_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [3, 4, 2, 3]
    worth = [np.sort(rng.uniform(0, 5, n))[::-1] for n in sizes]
    alone = {g: np.sort(rng.uniform(0, 3, n))[::-1] for g, n in enumerate(sizes) if g != 1}
    pairs = [Pair(0, 1), Pair(1, 2), Pair(1, 3)]
    together = {p: rng.uniform(-1, 3, (sizes[p.left], sizes[p.right])) for p in pairs}
    costs = Costs(2.0, alone, together)
    every = list(itertools.product(*(range(n) for n in sizes)))
    budget = float(np.quantile([costs.of(c) for c in every], 0.3))

    def value(chosen: tuple[int, ...] | list[int]) -> float:
        return sum(float(row[k]) for row, k in zip(worth, chosen, strict=True))

    best = max(value(c) for c in every if costs.of(c) <= budget)
    found = solve(worth, costs, budget)
    assert found is not None
    assert costs.of(found) <= budget + 1e-6
    assert value(found) >= best * (1 - 2e-3)
    assert solve(worth, costs, min(costs.of(c) for c in every) - 0.1) is None


# -- the target ------------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Profiles are made up; a network that is timed takes ``bias`` times as long as the forecast says."""
    state: dict[str, Any] = {"bias": 1.0, "profiles": 0, "timed": 0}

    def profile(model: nn.Module, inputs: Any, *, graph: Graph, **settings: Any) -> Forecast:
        state["profiles"] += 1
        state["settings"], state["inputs"] = settings, inputs
        return made_up(graph)

    def measured(forecast: Forecast, selection: Any) -> float:
        state["timed"] += 1
        return float(forecast.ms(selection) / forecast.dense_ms * state["bias"])

    monkeypatch.setattr(latency, "profile", profile)
    monkeypatch.setattr(latency, "_measured", measured)
    return state


def share(graph: Graph, plan: nk.Plan, bias: float) -> float:
    forecast = made_up(graph)
    return forecast.ms(plan) / forecast.dense_ms * bias


@pytest.mark.parametrize("remain", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("bias", [1.0, 1.3, 0.8])
def test_the_target_is_met_as_measured(fake: dict[str, Any], remain: float, bias: float) -> None:
    """Also where the forecast is wrong by a third."""
    graph = nk.trace(Residual(), INPUTS)
    fake["bias"] = bias
    plan = nk.plan(graph, nk.scores.L1(), nk.Latency(remain))
    assert remain * 0.8 <= share(graph, plan, bias) <= remain * 1.03
    assert plan.made_by["target"]["kind"] == "Latency"
    assert nk.certify(graph.model, plan, nk.cut(graph.model, plan), INPUTS).holds


def test_a_goal_that_is_missed_is_told(
    fake: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By far: an error that says what can be had. By little: a warning."""
    graph = nk.trace(Residual(), INPUTS)
    shares = [0.7, 0.62, 0.58]
    monkeypatch.setattr(latency, "_measured", lambda *_: shares.pop(0) if len(shares) > 1 else shares[0])
    with pytest.raises(UnreachableTarget, match=r"of 5 plans that were timed the quickest takes 0\.58"):
        nk.plan(graph, nk.scores.L1(), nk.Latency(0.5))
    shares[:] = [0.7, 0.53]
    nk.plan(graph, nk.scores.L1(), nk.Latency(0.5, threads=2))
    assert "asked for 0.5 of the dense latency; the plan takes 0.53" in caplog.text


def test_the_same_question_is_not_timed_again(fake: dict[str, Any]) -> None:
    graph = nk.trace(Residual(), INPUTS)
    first = nk.plan(graph, nk.scores.L1(), nk.Latency(0.5))
    timed = fake["timed"]
    assert nk.plan(graph, nk.scores.L1(), nk.Latency(0.5)).choices == first.choices
    assert fake["timed"] == timed
    nk.plan(graph, nk.scores.L2(), nk.Latency(0.5))
    assert fake["timed"] > timed


def test_nothing_outlives_the_graph(fake: dict[str, Any]) -> None:
    model = Residual()
    graph = nk.trace(model, INPUTS)
    nk.plan(graph, nk.scores.L1(), nk.Latency(0.5))
    seen = weakref.ref(model)
    del model, graph
    gc.collect()
    assert seen() is None


def test_it_keeps_more_than_even_widths_that_are_as_quick(fake: dict[str, Any]) -> None:
    graph = nk.trace(Residual(), INPUTS)
    plan = nk.plan(graph, nk.scores.L1(), nk.Latency(0.4))
    tensors = dict(graph.tensors())

    def kept(plan: nk.Plan) -> float:
        total = 0.0
        for group in graph.groups:
            worth = nk.scores.L1()(group, tensors)
            gone = list(plan.choices[group.name].removed)
            total += float((worth.sum() - worth[gone].sum()) / worth.mean())
        return total

    even = [nk.plan(graph, nk.scores.L1(), nk.Ratio(r / 50)) for r in range(1, 48)]
    quick = [p for p in even if share(graph, p, 1.0) <= 0.4]
    assert kept(plan) > max(map(kept, quick))


def test_a_graph_is_profiled_once_for_each_place(fake: dict[str, Any]) -> None:
    graph = nk.trace(Residual(), INPUTS)
    for remain in (0.5, 0.4):
        nk.plan(graph, nk.scores.L1(), nk.Latency(remain))
    assert fake["profiles"] == 1
    nk.plan(graph, nk.scores.L1(), nk.Latency(0.5, threads=2))
    assert fake["profiles"] == 2
    assert fake["settings"]["threads"] == 2
    nk.plan(graph, nk.scores.L1(), nk.Latency(0.8, skip="first"))
    assert fake["profiles"] == 3


def test_another_batch_is_forecast_with_that_batch(fake: dict[str, Any]) -> None:
    graph = nk.trace(Residual(), INPUTS)
    nk.plan(graph, nk.scores.L1(), nk.Latency(0.5, batch=5))
    assert fake["inputs"].shape == (5, 3, 8, 8)


def test_batches_by_hand() -> None:
    x, y = torch.arange(3), torch.ones(1)
    assert latency.batched({"x": x, "y": y, "n": 3}, None) == {"x": x, "y": y, "n": 3}
    found = latency.batched({"x": x, "y": y, "n": 3}, 5)
    assert found["x"].tolist() == [0, 1, 2, 0, 1]
    assert found["y"] is y
    assert latency.batched((torch.ones(1, 7), torch.ones(4, 7), torch.ones(4)), 2)[1].shape == (2, 7)
    with pytest.raises(BadInput, match=r"most tensors have the batch as dimension 0, found lengths \[2, 3\]"):
        latency.batched((torch.ones(3), torch.ones(2)), 4)
    assert latency.batched((x,), 2)[0].tolist() == [0, 1]
    most = latency.batched({"ids": torch.ones(1, 8), "mask": torch.ones(1, 8), "places": torch.ones(8)}, 4)
    assert [tuple(t.shape) for t in most.values()] == [(4, 8), (4, 8), (8,)]
    with pytest.raises(BadInput, match="most tensors have the batch"):
        latency.batched((3,), 2)


def test_groups_that_may_not_be_pruned_stay(fake: dict[str, Any]) -> None:
    graph = nk.trace(Residual(), INPUTS)
    plan = nk.plan(graph, nk.scores.L1(), nk.Latency(0.7, skip="ups.0"))
    assert plan.choices["ups.0"].removed == ()
    assert "ups.0" not in fake["settings"]["only"]


def test_asked_for_multiples_are_kept(fake: dict[str, Any]) -> None:
    graph = nk.trace(Residual(), INPUTS)
    plan = nk.plan(graph, nk.scores.L1(), nk.Latency(0.5, round_to=16))
    assert all(choice.kept % 16 == 0 for choice in plan.choices.values())


def test_what_cannot_be_had_is_told(fake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = nk.trace(Residual(), INPUTS)
    with pytest.raises(
        UnreachableTarget, match=r"asked for 0\.001 of the dense latency in PyTorch; of 1 plans .* 0\.0"
    ):
        nk.plan(graph, nk.scores.L1(), nk.Latency(0.001))
    assert fake["timed"] == 1
    with pytest.raises(UnreachableTarget, match="no group may be pruned"):
        nk.plan(graph, nk.scores.L1(), nk.Latency(0.5, only="first", skip="first"))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(CannotFollow, match="Make the plan in one process"):
        nk.plan(graph, nk.scores.L1(), nk.Latency(0.5))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"remain": 0}, "above 0 and at most 1"),
        ({"runtime": "onxruntime"}, "did you mean 'onnxruntime'"),
        ({"threads": 0}, "threads must be a whole number"),
        ({"threads": None}, "threads must be a whole number"),
        ({"batch": 0.5}, "batch must be a whole number"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        nk.Latency(**settings)


def test_methods_take_the_target(fake: dict[str, Any]) -> None:
    """In one call; and its JSON makes an equal method."""
    method = nk.methods.magnitude(nk.Latency(0.5))
    small = nk.prune(Residual(), INPUTS, method)
    assert nk.measure.macs(small, INPUTS) < nk.measure.macs(Residual(), INPUTS)
    assert nk.methods.from_json(nk.methods.to_json(method)) == method


def test_recipes_take_the_target() -> None:
    asked = {"latency": 0.4, "runtime": "onnxruntime", "batch": 4, "skip": ["first"]}
    wanted = nk.methods.magnitude(nk.Latency(0.4, "onnxruntime", batch=4, skip="first"))
    assert nk.methods.build("magnitude", {"target": asked}) == wanted
    assert nk.methods.build("magnitude", {"target": {"memory": 0.4}}) == nk.methods.magnitude(nk.Memory(0.4))
    with pytest.raises(BadInput, match=r"target has no 'batch'|unknown .*batch"):
        nk.methods.build("magnitude", {"target": {"macs": 0.4, "batch": 4}})


# -- with real times -------------------------------------------------------------------------------------


def test_a_real_profile_is_made_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is asked for: only that all is timed, told, and taken from the shelf the second time."""
    graph = nk.trace(Residual(), INPUTS)
    told: list[str] = []
    first = profile(graph.model, INPUTS, graph=graph, cache=tmp_path, runs=2, tick=lambda *what: told.append(what[0]))
    assert set(told) == {"layers", "whole networks"}
    assert [a.name for a in first.anchors] == ["dense", "50% removed", "75% removed", "30% removed", "45% removed"]
    assert all(a.ms > 0 for a in first.anchors)
    assert first.ms({}) == pytest.approx(first.dense_ms)
    monkeypatch.setattr("niwaki.forecast.timing.kernel", lambda *_: pytest.fail("timed again"))
    again = profile(graph.model, INPUTS, graph=graph, cache=tmp_path, runs=2)
    shapes: tuple[Shape, ...] = first.layers.shapes
    assert [dict(again.surfaces[s].times) for s in shapes] == [dict(first.surfaces[s].times) for s in shapes]


def test_a_measured_share_is_of_both_in_turns(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def timed(models: dict[str, nn.Module], inputs: Any, **settings: Any) -> dict[str, Timing]:
        seen.update(models=models, inputs=inputs, **settings)
        return {name: Timing(ms, ms, 0.0, 1) for name, ms in (("dense", 8.0), ("cut", 2.0))}

    monkeypatch.setattr(latency, "latency", timed)
    assert latency._measured(made_up(graph), {"ups.0": (0, 1)}) == 0.25
    dense = seen["models"]["dense"]
    assert type(dense) is Residual
    assert dense is not graph.model, "what a model keeps of a timed call is not for the user's"
    assert seen["models"]["cut"].ups[0].out_channels == 62
    assert seen["inputs"] is INPUTS


def test_what_has_no_products_cannot_be_forecast() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.scale = nn.Embedding(5, 8), nn.Parameter(torch.ones(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor((self.table(x) * self.scale).sum(-1))

    with pytest.raises(BadInput, match="no layer of this model can be timed alone"):
        profile(Table(), torch.ones(1, 2, dtype=torch.int64), cache=None)
    with pytest.raises(BadInput, match="no runtime is called"):
        profile(Residual(), INPUTS, runtime="tensorflow", cache=None)


def test_the_next_aim_lies_between_what_was_too_slow_and_what_was_quick_enough() -> None:
    """By hand: in proportion at first; then on the line between the nearest two."""
    assert latency.corrected(0.5, [(0.5, 0.625)]) == pytest.approx(0.4)
    assert latency.corrected(0.5, [(0.5, 0.625), (0.4, 0.6)]) == pytest.approx(1 / 3)
    assert latency.corrected(0.5, [(0.5, 0.625), (0.4, 0.6), (0.3, 0.4)]) == pytest.approx(0.35)
    assert latency.corrected(0.5, [(0.5, 0.4)]) == pytest.approx(0.625)
    # What took longer though less was allowed says nothing of what lies between: in proportion again.
    assert latency.corrected(0.5, [(0.5, 0.45), (0.4, 0.6)]) == pytest.approx(1 / 3)


class Decides(nn.Module):
    """What no exporter takes."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.enter(x))
        found: torch.Tensor = self.leave(y) if float(y.detach().sum()) > -1 else self.leave(-y)
        return found


def test_what_cannot_be_exported_is_told_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.setattr(timing, "kernel", lambda *_: pytest.fail("a layer was timed"))
    with pytest.raises(BadInput, match="Decides cannot be written for ONNX"):
        profile(Decides(), torch.ones(1, 4), runtime="onnxruntime", cache=None)


def test_a_profile_for_latency_takes_names_and_no_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(OrderedDict({"conv[0]": nn.Linear(4, 8), "relu": nn.ReLU(), "out": nn.Linear(8, 2)}))
    asked: list[Any] = []

    def fake_profile(*_: Any, only: Any, graph: Graph, **__: Any) -> Any:
        asked.extend(g.name for g in nk.Ratio(0.5, only=tuple(only)).picks(graph.groups))
        raise UnreachableTarget("enough")

    monkeypatch.setattr(latency, "profile", fake_profile)
    graph = nk.trace(net, torch.ones(1, 4))
    with pytest.raises(UnreachableTarget, match="enough"):
        nk.plan(graph, target=nk.Latency(0.5))
    assert asked == [g.name for g in graph.groups]
