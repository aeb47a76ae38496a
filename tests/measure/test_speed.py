"""Turns and counts of timed calls; the figures themselves belong to the clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.measure import Conditions, Timing, allocated, interleaved, latency, runtimes, speed
from niwaki.measure.hardware import processor


def test_calls_take_turns_in_alternating_order() -> None:
    order: list[str] = []
    found = interleaved({n: lambda n=n: order.append(n) for n in "ab"}, runs=3, warmup=2)
    assert "".join(order) == "aabb" + "ab" + "ba" + "ab"
    assert {name: t.runs for name, t in found.items()} == {"a": 3, "b": 3}


def test_a_tick_follows_every_round() -> None:
    seen: list[str] = []
    interleaved({"a": lambda: seen.append("a")}, runs=2, warmup=0, tick=lambda: seen.append("tick"))
    assert seen == ["a", "tick", "a", "tick"]


def test_figures_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of 1, 2, 3 and 10 ms: median 2.5, least 1; quartiles 1.25 and 8.25 by the exclusive rule."""
    clock = iter([0.0, 0.001, 1.0, 1.002, 2.0, 2.003, 3.0, 3.010])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    timing = interleaved({"a": lambda: None}, runs=4, warmup=1)["a"]
    assert timing.median_ms == pytest.approx(2.5)
    assert timing.min_ms == pytest.approx(1.0)
    assert timing.spread_ms == pytest.approx(8.25 - 1.25)


def test_one_run_has_no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.004])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    timing = interleaved({"a": lambda: None}, runs=1, warmup=0)["a"]
    assert timing == Timing(pytest.approx(4.0), pytest.approx(4.0), 0.0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("calls", "runs"), [({}, 3), ({"a": lambda: None}, 0)])
def test_nothing_to_time_is_refused(calls: dict[str, Any], runs: int) -> None:
    with pytest.raises(BadInput, match="at least one call and one run"):
        interleaved(calls, runs=runs)


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[bool, bool, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, torch.is_grad_enabled(), torch.get_num_threads()))
        return x * self.weight


def test_models_run_in_eval_and_without_gradients_on_the_threads_asked_for() -> None:
    first, second = Spy().train(), Spy().eval()
    threads = torch.get_num_threads()
    found = latency({"first": first, "second": second}, torch.ones(2), threads=2, runs=2, warmup=1)
    assert set(found) == {"first", "second"}
    assert first.seen == second.seen == [(False, False, 2)] * 3
    assert (first.training, second.training, torch.get_num_threads()) == (True, False, threads)


def test_a_single_model_is_called_model() -> None:
    assert set(latency(Spy(), torch.ones(2), runs=1, warmup=0)) == {"model"}


def test_slow_calls_are_timed_as_often_as_fits() -> None:
    seen: list[str] = []
    found = interleaved({"a": lambda: seen.append("a")}, runs=30, warmup=0, seconds=-1.0)
    assert found["a"].runs == len(seen) == speed.LEAST
    assert interleaved({"a": lambda: None}, runs=3, seconds=-1.0)["a"].runs == 3
    assert interleaved({"a": lambda: None}, runs=7, seconds=1e9)["a"].runs == 7


def test_slow_calls_are_warmed_up_once_where_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(speed, "_SLOW", -1.0)
    interleaved({"a": lambda: seen.append("a")}, runs=1, warmup=3, seconds=1e9)
    assert len(seen) == 2
    interleaved({"a": lambda: seen.append("a")}, runs=1, warmup=3)
    assert len(seen) == 6


def test_a_seed_draws_the_order_of_each_round() -> None:
    def orders(seed: int) -> list[str]:
        order: list[str] = []
        found = speed.in_rounds({n: lambda n=n: order.append(n) for n in "abcd"}, runs=6, warmup=0, seed=seed)
        assert [len(times) for times in found.values()] == [6] * 4
        rounds = ["".join(order[k : k + 4]) for k in range(0, 24, 4)]
        assert all(sorted(names) == list("abcd") for names in rounds)
        return rounds

    assert orders(0) == orders(0) != orders(1)
    assert len(set(orders(0))) > 2


def test_a_timing_says_on_what_it_was_measured() -> None:
    found = latency(Spy(), torch.ones(2), threads=1, runs=2, warmup=1)["model"]
    assert (found.runs, found.warmup) == (2, 1)
    assert found.where == Conditions("pytorch", torch.__version__, processor(), 1)
    assert Conditions.of(Spy(), "onnxruntime", 3).threads == 3
    assert interleaved({"a": lambda: None}, runs=1)["a"].where is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_it_says_which() -> None:
    found = latency(Spy().cuda(), torch.ones(2).cuda(), runs=1)["model"]
    assert found.where is not None
    assert found.where.device == torch.cuda.get_device_name()


class Remembers(nn.Module):
    """Makes a table when it is called first, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.table = nn.Linear(2, 2), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = torch.ones(2)
        return self.linear(x) * self.table


def test_what_was_timed_can_be_trained() -> None:
    model = Remembers()
    latency(model, torch.ones(1, 2), runs=1, warmup=0)
    model(torch.ones(1, 2)).sum().backward()
    assert model.linear.weight.grad is not None


def test_slow_calls_are_warmed_up_once_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SLOW", -1.0)
    assert interleaved({"a": lambda: None}, runs=1, warmup=3, seconds=0.0)["a"].warmup == 1
    assert interleaved({"a": lambda: None}, runs=1, warmup=3)["a"].warmup == 3


class Appending(nn.Module):
    """Writes to the cache that it is given, and remembers how long that was."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, cache: Cache) -> torch.Tensor:
        self.seen.append(len(cache.kept))
        cache.kept.append(self.linear(x))
        return torch.stack(cache.kept).sum(0)


class Cache:
    def __init__(self) -> None:
        self.kept = [torch.ones(1, 2)]


@pytest.mark.parametrize("seconds", [None, 1e9])
def test_every_call_meets_the_cache_as_it_was_given(seconds: float | None) -> None:
    model, cache = Appending(), Cache()
    latency(model, {"x": torch.ones(1, 2), "cache": cache}, runs=3, warmup=2, seconds=seconds)
    assert model.seen == [1] * 5
    assert len(cache.kept) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_memory_is_read_beside_the_cache_as_it_was_given() -> None:
    model, cache = Appending().cuda(), Cache()
    cache.kept = [t.cuda() for t in cache.kept]
    allocated(model, {"x": torch.ones(1, 2).cuda(), "cache": cache})
    assert model.seen == [1, 1]


def test_what_a_call_needs_is_made_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: order.append("clock") or 0.0)
    call = runtimes.Ready(lambda: order.append("call"), 0.0, lambda: order.append("prepare"))
    interleaved({"a": call}, runs=1, warmup=1)
    assert order == ["prepare", "call", "prepare", "clock", "call", "clock"]
