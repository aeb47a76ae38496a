"""How far a job has come, and its checkpoint: what lets it stop anywhere and go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from niwaki.errors import BrokenFile
from niwaki.savepoints import Savepoints, State


class TimeIsUp(Exception):
    """The time that was given is spent; what was done is kept."""


@dataclass
class Progress:
    """How far a job has come. ``epoch`` and ``step`` count in the phase; ``spent`` are seconds by phase, ``core`` those
    of processor cores; ``pruned`` is the accuracy before retraining, ``pressed`` the steps of pressing, ``history`` the
    accuracy after each epoch."""

    phase: str = "prune"
    epoch: int = 0
    step: int = 0
    spent: dict[str, float] = field(default_factory=dict)
    core: dict[str, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    pruned: float | None = None
    pressed: int = 0

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.phase, self.epoch, self.step = phase, 0, 0


@dataclass(frozen=True)
class Stamp:
    """What a job's files must agree on: the settings, the SHA-256 of the base network's file, and the numbers of
    training and test images."""

    settings: Mapping[str, Any]
    base: str
    images: tuple[int, int]

    def check(self, path: Path, found: Mapping[str, Any], base: str) -> None:
        """Raise :class:`BrokenFile` unless this very job wrote the file."""
        told = "other settings or another base network"
        if found["settings"] == self.settings and base == self.base:
            # Older files do not say how many images there were.
            if tuple(found.get("images", self.images)) == self.images:
                return
            told = f"{found['images']} training and test images, not {list(self.images)}"
        raise BrokenFile(f"{path} was written with {told}; remove it, or name another folder")


class Keeper:
    """Keeps a job's progress, and writes a checkpoint now and then.

    Args:
        path: of the checkpoint. stamp: what it must agree on.
        until: when the job must stop (seconds of ``time.monotonic``). every: seconds between checkpoints.
    """

    def __init__(self, path: Path, stamp: Stamp, until: float, every: float) -> None:
        self.at = Progress()
        self._path, self._stamp, self._until, self._every = path, stamp, until, every
        self._points = Savepoints.beside(path)
        self._saved = time.monotonic()
        self._since = _now()

    def read(self) -> State | None:
        """The state of the last checkpoint, on the CPU, if there is one; the progress is what it was then.

        Raises:
            BrokenFile: it is of other settings, another base network or other images.
        """
        state = self._points.load()
        if state is None:
            return None
        self._stamp.check(self._path, state, state["base"])
        self.at = Progress(**state["progress"])
        return state

    def start(self) -> None:
        """Count time from now on."""
        self._since = _now()

    def spend(self, phase: str) -> None:
        """The time since counting began was spent on that phase; count anew."""
        now = _now()
        for spent, then, until in zip((self.at.spent, self.at.core), self._since, now, strict=True):
            spent[phase] = spent.get(phase, 0.0) + until - then
        self._since = now

    def pause(self, phase: str, state: Callable[[], State]) -> None:
        """After a step: write a checkpoint if one is due.

        Raises:
            TimeIsUp: the time is up; the checkpoint is written.
        """
        now = time.monotonic()
        up = now >= self._until
        if not up and now - self._saved < self._every:
            return
        self.spend(phase)
        self._write(state())
        self._saved = now
        if up:
            raise TimeIsUp
        self.start()

    def _write(self, state: State) -> None:
        # The batch that was just used counts as done.
        progress = {**asdict(self.at), "step": self.at.step + 1}
        stamp = {"settings": dict(self._stamp.settings), "base": self._stamp.base, "images": list(self._stamp.images)}
        self._points.save({"progress": progress, **stamp, **state})

    def finish(self) -> None:
        """The job is done: its checkpoint is not needed any more."""
        self._points.clear()


def _now() -> tuple[float, float]:
    """Seconds by the clock, and seconds of all cores that this process used."""
    return time.perf_counter(), time.process_time()


__all__ = ["Keeper", "Progress", "Stamp", "State", "TimeIsUp"]
