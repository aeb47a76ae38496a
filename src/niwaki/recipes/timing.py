"""Latency of all networks of a run, each runtime in one interleaved session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from niwaki import measure
from niwaki.export import onnx_session
from niwaki.graph.observe import Inputs, call_arguments
from niwaki.measure import Timing
from niwaki.measure.size import batch_size
from niwaki.recipes.schema import Measure
from niwaki.report import Entry, Latency

_UNTIMED = "Not timed: "


def latencies(
    plan: Measure, models: Mapping[str, nn.Module], files: Mapping[str, Path], inputs: Inputs
) -> dict[str, tuple[Latency, ...]]:
    """For every model, its latency in every runtime asked for. ``files``: the ONNX file of each."""
    found: dict[str, list[Latency]] = {name: [] for name in models}
    for runtime in plan.runtimes if plan.runs else ():
        if runtime == "onnxruntime":  # of the files that are certified
            timings = _onnx(plan, files, inputs)
        else:
            timings = measure.latency(models, inputs, runtime=runtime, threads=plan.threads, runs=plan.runs)
        for name, t in timings.items():
            found[name].append(
                Latency(
                    measure.RUNTIMES[runtime],
                    plan.threads,
                    batch_size(inputs),
                    t.median_ms,
                    t.min_ms,
                    t.spread_ms,
                    t.runs,
                )
            )
    return {name: tuple(rows) for name, rows in found.items()}


def rehearse_timing(plan: Measure, model: nn.Module, inputs: Inputs) -> None:
    """See that the dense network runs where all are to be timed: before hours of training, not after. (For ONNX Runtime
    it is exported anyway, and compiling takes long.)"""
    if plan.runs and "openvino" in plan.runtimes:
        measure.latency(model, inputs, runtime="openvino", threads=plan.threads, runs=1, warmup=0)


def told_untimed(entry: Entry, why: str) -> Entry:
    """The entry with a note of why it was not timed, and of how it can be later; without one if ``why`` is empty."""
    note = [f"{_UNTIMED}{why}. niwaki prune with --resume tries it again."] if why else []
    return replace(entry, notes=(*(old for old in entry.notes if not old.startswith(_UNTIMED)), *note))


def _onnx(plan: Measure, files: Mapping[str, Path], inputs: Inputs) -> dict[str, Timing]:
    args, kwargs = call_arguments(inputs)

    def timed(path: Path) -> Callable[[], Any]:
        session = onnx_session(path, threads=plan.threads)
        return lambda: session(*args, **kwargs)

    return measure.interleaved({name: timed(path) for name, path in files.items()}, runs=plan.runs)
