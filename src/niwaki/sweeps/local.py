"""Trials on this machine, so many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from niwaki.sweeps.ledger import Outcome
from niwaki.sweeps.process import Processes

Tick = Callable[[], None]
_SECONDS = 0.5  # from one look at what is under way to the next


class Runner(Protocol):
    """Runs the trials of these folders; yields each as it ends. ``tick`` is called in between. Where it is left before
    its end, by an interruption, it ends what it has started."""

    def __call__(self, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]: ...


def workers_for(threads: int, gpus: int = 0) -> int:
    """How many trials run at a time: as many as the processor's cores carry at so many threads, and where there are
    GPUs no more than one on each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // threads, gpus or cores))


class Local:
    """Processes of this machine: ``workers`` at a time, each with so many ``threads``, and the environment of its place
    among them: that of the first for the first, and again from the first where there are more of them."""

    def __init__(self, workers: int, threads: int, places: Sequence[Mapping[str, str]] = ({},)) -> None:
        self.workers, self.threads, self.places = workers, threads, places

    def __call__(self, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]:
        processes, free = Processes(), SimpleQueue[Mapping[str, str]]()
        for k in range(self.workers):
            free.put(self.places[k % len(self.places)])

        def run(folder: Path) -> Outcome | None:
            place = free.get_nowait()  # as many places as threads
            try:
                return processes.run(folder, self.threads, place)
            finally:
                free.put(place)

        with ThreadPoolExecutor(self.workers) as pool:
            try:
                left = {pool.submit(run, folder): folder for folder in folders}
                while left:
                    done, _ = wait(left, _SECONDS, FIRST_COMPLETED)
                    tick()
                    for future in done:
                        folder, outcome = left.pop(future), future.result()
                        if outcome is not None:
                            yield folder, outcome
            finally:
                processes.stop()
                pool.shutdown(cancel_futures=True)


__all__ = ["Local", "Runner", "Tick", "workers_for"]
