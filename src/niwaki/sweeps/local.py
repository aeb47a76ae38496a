"""Trials on this machine, so many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from niwaki.sweeps.ledger import Outcome
from niwaki.sweeps.process import Processes

Tick = Callable[[], None]
_SECONDS = 0.5  # from one look at what is under way to the next


class Runner(Protocol):
    """Runs the trials of these folders; yields each as it ends. ``tick`` is called in between. Where it is left before
    its end, by an interruption, it ends what it has started."""

    def __call__(self, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]: ...


def workers_for(threads: int) -> int:
    """How many trials of so many threads the processor's cores carry."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


class Local:
    """Processes of this machine: ``workers`` at a time, each with so many ``threads``."""

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    def __call__(self, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]:
        processes = Processes()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                left = {pool.submit(processes.run, folder, self.threads, {}): folder for folder in folders}
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
