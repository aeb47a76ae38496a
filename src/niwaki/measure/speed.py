"""Latency, measured fairly: all candidates in one run, interleaved, in alternating order, medians."""

from __future__ import annotations

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
from niwaki.measure.runtimes import ready


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
    tick: Callable[[], None] | None = None,
) -> dict[str, Timing]:
    """Time several calls in turns, so that drift of a busy machine hits all alike.

    Args:
        calls: name to a function without arguments. runs: timed calls of each. warmup: untimed ones before.
        tick: called after every round (for a progress bar).
    """
    if not calls or runs < 1:
        raise BadInput("interleaved needs at least one call and one run")
    for call in calls.values():
        for _ in range(warmup):
            call()
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(runs):
        for name in list(calls) if k % 2 == 0 else list(calls)[::-1]:
            start = time.perf_counter()
            calls[name]()
            spent[name].append(1e3 * (time.perf_counter() - start))
        if tick is not None:
            tick()
    return {name: replace(_timing(values), warmup=warmup) for name, values in spent.items()}


def latency(
    models: Mapping[str, nn.Module] | nn.Module,
    inputs: Inputs,
    *,
    runtime: str = "pytorch",
    threads: int = 1,
    runs: int = 30,
    warmup: int = 3,
) -> dict[str, Timing]:
    """Latency of one or several models in eval mode, interleaved. A single model is reported under the name
    ``"model"``.

    Args:
        runtime: ``"pytorch"``, ``"compile"``, ``"onnxruntime"`` or ``"openvino"``. The first two run where the models
            are, on a GPU synchronised; the others on the CPU.
        threads: of the CPU. runs: timed calls of each. warmup: untimed ones before.

    Raises:
        BadInput: no such runtime. MissingExtra: it is not installed.
    """
    named = {"model": models} if isinstance(models, nn.Module) else dict(models)
    with using_threads(threads), _all_evaluating(list(named.values())):
        made = {name: ready(model, inputs, runtime, threads=threads) for name, model in named.items()}
        timed = interleaved({name: each.call for name, each in made.items()}, runs=runs, warmup=warmup)
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
