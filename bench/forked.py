"""Run one piece of a benchmark in a forked child: what it breaks, or eats, or hangs on, stays there."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DONE, CRASH, HANG = "done", "crash", "hang"

Work = Callable[..., Iterator[dict[str, Any]]]
"""Yields what it finds as it finds it, so that a child that stops half-way has still told something."""


def in_child(work: Work, *args: Any, seconds: float) -> dict[str, Any]:
    """Everything that ``work(*args)`` yields, merged; ``status`` says how it ended, ``trouble`` why."""
    context = multiprocessing.get_context("fork")  # the child starts warm: imports and caches are there already
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_tell, args=(theirs, work, args), daemon=True)
    child.start()
    theirs.close()
    found = _heard(ours, time.monotonic() + seconds)
    if "status" not in found:
        child.join(1)
        late = child.is_alive()
        said = f"no answer in {seconds:.0f} s" if late else f"the process died ({child.exitcode})"
        found |= {"status": HANG if late else CRASH, "trouble": said}
    child.kill()
    child.join()
    return found


def _heard(pipe: Any, deadline: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while "status" not in found and pipe.poll(max(0.0, deadline - time.monotonic())):
        try:
            found |= pipe.recv()
        except EOFError:
            break
    return found


def _tell(pipe: Any, work: Work, args: tuple[Any, ...]) -> None:
    try:
        for part in work(*args):
            pipe.send(part)
        pipe.send({"status": DONE})
    except BaseException as trouble:
        pipe.send({"status": CRASH, "trouble": told(trouble)})


def told(trouble: BaseException) -> str:
    """An error in one line that fits a table."""
    return " ".join(f"{type(trouble).__name__}: {trouble}".split())[:300]


class Memory:
    """The most resident memory that this process grows by, as the kernel counts it (VmHWM over VmRSS, in MiB)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # forget the high-water mark of before
        self._start = _kib("VmRSS")

    def growth(self) -> float:
        """The high-water mark since then, over what was resident then."""
        return max(0.0, _kib("VmHWM") - self._start) / 1024

    def most(self) -> float:
        """The high-water mark itself, with all that was resident before."""
        return _kib("VmHWM") / 1024


def _kib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))
