"""One cell: a network in a runtime at a batch, dense and cut in all ways, timed in turns on one thread."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.bench.speed.subjects import plain, subject
from niwaki.bench.speed.ways import VARIANTS, Cut, Ways
from niwaki.errors import MissingExtra
from niwaki.measure import macs
from niwaki.measure.hardware import processor
from niwaki.measure.runtimes import ready
from niwaki.measure.speed import in_rounds, using_threads
from niwaki.tracing import trace

THREADS, SECONDS = 1, 60.0
"""Of the CPU; and so long the rounds of a cell take, unless five take longer."""
DENSE = "dense"

Advance = Callable[[str], None]
Variants = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """What is measured at once."""

    network: str
    runtime: str
    batch: int

    @property
    def name(self) -> str:
        return f"{self.network}, {self.runtime}, batch {self.batch}"

    @property
    def file(self) -> str:
        """Of its results, without a folder."""
        return f"{self.runtime}.batch{self.batch}.{plain(self.network)}.json"

    @property
    def told(self) -> dict[str, Any]:
        """What results say of themselves."""
        return {"network": self.network, "runtime": self.runtime, "batch": self.batch, "threads": THREADS}

    @property
    def steps(self) -> int:
        """How often ``advance`` of :meth:`measured` is called."""
        return 2 * len(VARIANTS) + 2

    def measured(self, runs: int, rivals: Path, advance: Advance = lambda note: None) -> dict[str, Any]:
        """Plan, cut, make ready and time.

        Args:
            runs: rounds at most. rivals: see :class:`Ways`.

        Raises:
            MissingExtra: the runtime is not installed.
        """
        start, load = time.perf_counter(), os.getloadavg()[0]
        with using_threads(THREADS):
            variants, models, inputs = self._variants(rivals, advance)
            planned = time.perf_counter()
            calls = self._calls(variants, models, inputs, advance)
            prepared = time.perf_counter()
            rounds = in_rounds(calls, runs=runs, seconds=SECONDS, seed=0) if DENSE in calls else {}
            advance("timed")
        seconds = {"plans": planned - start, "ready": prepared - planned, "rounds": time.perf_counter() - prepared}
        found = {**self.told, "processor": processor(), "seconds": seconds, "load_average": [load, os.getloadavg()[0]]}
        return {**found, **summary(variants, rounds), "rounds_ms": rounds}

    def _variants(self, rivals: Path, advance: Advance) -> tuple[Variants, dict[str, nn.Module], Any]:
        """What is said of each variant, and the models of those that can be had."""
        given = subject(self.network)
        dense, inputs = given.build().eval(), given.inputs(self.batch)
        ways = Ways(self.network, trace(dense, inputs), self.runtime, rivals)
        whole = macs(dense, inputs)
        models: dict[str, nn.Module] = {DENSE: dense}
        variants: Variants = {DENSE: {"macs": whole, "macs_ratio": 1.0}}
        for way, goal in VARIANTS:
            name, row = f"{way} {goal}x", {"way": way, "goal": goal}
            start = time.perf_counter()
            made = _attempt(row, lambda way=way, goal=goal: ways.make(way, goal))  # type: ignore[misc]
            row["seconds"] = time.perf_counter() - start
            if isinstance(made, Cut):
                models[name] = made.model
                left = macs(made.model, inputs)
                row |= {"macs": left, "macs_ratio": whole / left, "importance": made.importance}
            variants[name] = row
            advance(f"planned: {name}")
        return variants, models, inputs

    def _calls(
        self, variants: Variants, models: dict[str, nn.Module], inputs: Any, advance: Advance
    ) -> dict[str, Callable[[], Any]]:
        """What can be timed. A model that was exported is not needed any more."""
        calls = {}
        for name in variants:
            if name in models:
                model = models.pop(name)
                made = _attempt(variants[name], lambda m=model: ready(m, inputs, self.runtime, threads=THREADS))  # type: ignore[misc]
                if made is not None:
                    calls[name] = made
            advance(f"ready: {name}")
        return calls


def _attempt(row: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What it makes; or None, and the row says why: whatever a planner, an exporter or a compiler cannot take."""
    try:
        return make()
    except MissingExtra:
        raise
    except Exception as trouble:
        row["trouble"] = " ".join(f"{trouble or type(trouble).__name__}".split())[:300]
        return None


def summary(variants: Mapping[str, Mapping[str, Any]], rounds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Medians, and of each variant the median over all rounds of how many times as fast as the dense network of the
    same round it was, with the width of the middle half. Of a plan by latency also how many times as fast as the even
    one."""
    rows = []
    for name, row in variants.items():
        if name != DENSE:
            rows.append({**row, **({} if name not in rounds else _faster(rounds[DENSE], rounds[name]))})
            other = name.replace("latency", "even")
            both = row["way"] == "latency" and name in rounds and other in rounds
            if both and variants[other]["importance"] <= row["importance"]:
                rows[-1]["over_even"] = _faster(rounds[other], rounds[name])["speedup"]
    dense = rounds.get(DENSE)
    found: dict[str, Any] = {**variants[DENSE], **({} if dense is None else {"ms": statistics.median(dense)})}
    return {"rounds": 0 if dense is None else len(dense), "dense": found, "variants": rows}


def _faster(slow: list[float], quick: list[float]) -> dict[str, float]:
    pairs = [a / b for a, b in zip(slow, quick, strict=True)]
    quarters = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else [pairs[0]] * 3
    return {"ms": statistics.median(quick), "speedup": statistics.median(pairs), "spread": quarters[2] - quarters[0]}


__all__ = ["DENSE", "SECONDS", "THREADS", "Cell", "summary"]
