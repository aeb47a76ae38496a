"""Time every layer at every rung of its ladder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from niwaki.forecast.counted import Counted
from niwaki.forecast.hardware import Place
from niwaki.forecast.kernels import kernel
from niwaki.forecast.shapes import Shape
from niwaki.forecast.shelf import Shelf
from niwaki.graph.work import Linear, Task
from niwaki.measure.speed import using_threads

Tick = Callable[[str, int, int], None]
"""Told what is done, how much of it is done, and out of how many."""

IDLE = Task(Linear(1, bias=False), 1, 1, 1)
"""Next to nothing: what it takes in ONNX Runtime is that of the call, which layers in a network do not pay."""
_SHARE = 0.05  # of a layer's time is at least its own

_ROUNDS = 7
_LONG = 0.02
"""Seconds for one task in one round: what is shorter is called more often."""
_MOST = 20


def time_shapes(shapes: Iterable[Shape], place: Place, shelf: Shelf, tick: Tick | None = None) -> dict[Task, float]:
    """Milliseconds of every task of these shapes, without those of a call; what the shelf has is not timed again."""
    shapes = list(shapes)
    idle = _idle(place, shelf)
    for done, shape in enumerate(shapes):
        if tick is not None:
            tick("layers", done, len(shapes))
        missing = [task for task in dict.fromkeys(shape.tasks) if task not in shelf.times]
        if missing:
            _add(missing, place, shelf)
    if tick is not None:
        tick("layers", len(shapes), len(shapes))
    found = {task: shelf.times[task] for shape in shapes for task in shape.tasks}
    return {task: max(ms - idle, _SHARE * ms) for task, ms in found.items()}


def _idle(place: Place, shelf: Shelf) -> float:
    """Milliseconds of a call that a layer does not pay in a network. In PyTorch it does; OpenVINO counts what the layer
    itself takes."""
    if place.runtime != "onnxruntime":
        return 0.0
    if IDLE not in shelf.times:
        _add([IDLE], place, shelf)
    return shelf.times[IDLE]


def _add(tasks: Iterable[Task], place: Place, shelf: Shelf) -> None:
    with using_threads(place.threads):
        shelf.add(in_turns({task: kernel(task, place) for task in tasks}))


def in_turns(calls: Mapping[Task, Callable[[], Any]], rounds: int = _ROUNDS) -> dict[Task, float]:
    """Median milliseconds of each, all in turns and in alternating order; quick ones several times in each turn. Of
    those that count their own time, the share that it is."""
    repeats = {task: _repeats(call) for task, call in calls.items()}
    spent: dict[Task, list[float]] = {task: [] for task in calls}
    for k in range(rounds):
        for task in list(calls) if k % 2 == 0 else list(calls)[::-1]:
            spent[task].append(_once(calls[task], repeats[task]))
    return {task: 1e3 * statistics.median(values) * _share(calls[task]) for task, values in spent.items()}


def _share(call: Callable[[], Any]) -> float:
    return call.share if isinstance(call, Counted) else 1.0


def _repeats(call: Callable[[], Any]) -> int:
    call()
    return max(1, min(_MOST, int(_LONG / max(_once(call, 1), 1e-9))))


def _once(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call: the median of several."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


__all__ = ["Tick", "in_turns", "time_shapes"]
