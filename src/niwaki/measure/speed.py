"""Latency, measured fairly: all candidates in one run, interleaved, in alternating order, medians."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.graph.observe import Inputs, evaluating
from niwaki.measure.hardware import Conditions
from niwaki.measure.runtimes import Ready, ready

LEAST = 5
"""Timed calls of each, however slow."""
_SLOW = 500.0  # milliseconds of one call that are enough to warm up


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call. ``spread_ms``: width of the middle half of the ``runs``. ``ready_s``: seconds of export
    and compilation before. ``warmup``: calls before that were not timed. ``where``: the device, the threads, and the
    runtime with its version; None for calls that are no models."""

    median_ms: float
    min_ms: float
    spread_ms: float
    runs: int
    ready_s: float = 0.0
    warmup: int = 0
    where: Conditions | None = None


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    runs: int = 30,
    warmup: int = 3,
    seconds: float | None = None,
    tick: Callable[[], None] | None = None,
) -> dict[str, Timing]:
    """Time several calls in turns, so that drift of a busy machine hits all alike.

    Args:
        calls: name to a function without arguments. runs: timed calls of each. warmup: untimed ones before.
        seconds: stop after so long, though not before ``LEAST`` calls of each, and warm up slow ones once; None: never.
        tick: called after every round (for a progress bar).
    """
    warm = _warmed(calls, runs, warmup, seconds)
    rounds = _rounds(calls, runs, seconds, None, tick)
    return {name: replace(_timing(values), warmup=warm[name]) for name, values in rounds.items()}


def in_rounds(
    calls: Mapping[str, Callable[[], Any]],
    *,
    runs: int,
    warmup: int = 3,
    seconds: float | None = None,
    seed: int | None = None,
    tick: Callable[[], None] | None = None,
) -> dict[str, list[float]]:
    """As :func:`interleaved`: milliseconds of each call in each round, so that those of one round can be compared.

    ``seed``: each round is in a random order; None: in alternating order.
    """
    _warmed(calls, runs, warmup, seconds)
    return _rounds(calls, runs, seconds, seed, tick)


def _rounds(
    calls: Mapping[str, Callable[[], Any]],
    runs: int,
    seconds: float | None,
    seed: int | None,
    tick: Callable[[], None] | None,
) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {name: [] for name in calls}
    rng, end = None if seed is None else random.Random(seed), _end(seconds)
    for k in range(runs):
        if k >= LEAST and time.perf_counter() > end:
            break
        for name in _order(list(calls), k, rng):
            spent[name].append(_milliseconds(calls[name]))
        if tick is not None:
            tick()
    return spent


def _order(names: list[str], k: int, rng: random.Random | None) -> list[str]:
    return rng.sample(names, len(names)) if rng is not None else names if k % 2 == 0 else names[::-1]


def _warmed(calls: Mapping[str, Callable[[], Any]], runs: int, warmup: int, seconds: float | None) -> dict[str, int]:
    """Call each before it is timed; how often each was."""
    if not calls or runs < 1:
        raise BadInput("interleaved needs at least one call and one run")
    return {name: _warm(call, warmup, seconds) for name, call in calls.items()}


def _warm(call: Callable[[], Any], times: int, seconds: float | None) -> int:
    for k in range(times):
        if seconds is None:
            _prepare(call)
            call()
        elif _milliseconds(call) > _SLOW:
            return k + 1
    return times


def _prepare(call: Callable[[], Any]) -> None:
    if isinstance(call, Ready):
        call.prepare()


def _milliseconds(call: Callable[[], Any]) -> float:
    _prepare(call)
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _end(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.perf_counter() + seconds


def latency(
    models: Mapping[str, nn.Module] | nn.Module,
    inputs: Inputs,
    *,
    runtime: str = "pytorch",
    threads: int = 1,
    runs: int = 30,
    warmup: int = 3,
    seconds: float | None = None,
) -> dict[str, Timing]:
    """Latency of one or several models in eval mode, interleaved. A single model is reported under the name
    ``"model"``.

    Args:
        runtime: ``"pytorch"``, ``"compile"``, ``"onnxruntime"`` or ``"openvino"``. The first two run where the models
            are, on a GPU synchronised; the others on the CPU.
        threads: of the CPU. runs, warmup, seconds: as for :func:`interleaved`.

    Raises:
        BadInput: no such runtime. MissingExtra: it is not installed.
    """
    named = {"model": models} if isinstance(models, nn.Module) else dict(models)
    with using_threads(threads), _all_evaluating(list(named.values())):
        made = {name: ready(model, inputs, runtime, threads=threads) for name, model in named.items()}
        timed = interleaved(made, runs=runs, warmup=warmup, seconds=seconds)
    return {
        name: replace(timing, ready_s=made[name].seconds, where=Conditions.of(named[name], runtime, threads))
        for name, timing in timed.items()
    }


def _timing(values: list[float]) -> Timing:
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return Timing(statistics.median(values), min(values), quarters[2] - quarters[0], len(values))


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _all_evaluating(models: list[nn.Module]) -> Iterator[None]:
    if not models:
        yield
        return
    with evaluating(models[0]), _all_evaluating(models[1:]):
        yield
