"""Processes that live until they are done or killed. They are forked from one that has imported all, so that a life is
short; nothing in them has been started that a fork would break."""

from __future__ import annotations

import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from niwaki.bench.scale.faults_job import Signal

Work = Callable[[int, Signal], str]
"""Of the rank, and whom it tells where it is; gives a hash of what it ends with."""
ENOUGH = 60.0
"""Seconds after which a life that does not end is taken for one that hangs."""


@dataclass(frozen=True)
class Kill:
    """When to kill: ``delay`` seconds after the start, or after savepoint number ``save`` (from 1) has begun.
    ``rank``: whom; all if None."""

    delay: float
    save: int | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Life:
    """How a life ended. ``ends``: by rank what it ended with, where it came to an end. ``trouble``: what was raised.
    ``killed``: was one killed before it was done? ``saves``: seconds of each savepoint of the first rank.
    """

    ends: tuple[str, ...]
    trouble: str
    killed: bool
    seconds: float
    saves: tuple[float, ...]
    hangs: bool = False

    @property
    def done(self) -> bool:
        return all(self.ends)


def live(work: Work, ranks: int, kill: Kill | None = None) -> Life:
    """Fork ``ranks`` processes that do the work, and kill as told. Where one of several was killed and the others
    do not stop by themselves, they are ended, as a launcher does."""
    children = [_Child(work, rank) for rank in range(ranks)]
    start = time.monotonic()
    watch = _Watch(children, kill, start)
    while any(child.alive for child in children):
        watch.look()
        if time.monotonic() - start > ENOUGH:
            break
    hangs = any(child.alive for child in children)
    for child in children:
        child.end()
    return Life(
        tuple(child.end_mark for child in children),
        "; ".join(filter(None, (child.trouble for child in children))),
        watch.killed,
        time.monotonic() - start,
        tuple(children[0].saves),
        hangs,
    )


class _Child:
    def __init__(self, work: Work, rank: int) -> None:
        ours, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ours)
            _be(work, rank, theirs)
        os.close(theirs)
        self.pipe, self.alive = ours, True
        self.end_mark, self.trouble = "", ""
        self.begun, self.since, self.saves = 0, 0.0, list[float]()
        self._rest = b""

    def hear(self) -> None:
        """Take what it says; it is dead when it says nothing any more."""
        data = os.read(self.pipe, 1 << 16)
        if not data:
            self.end()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, more = line.decode(errors="replace").partition(" ")
            now = time.monotonic()
            if word == "s":
                self.begun, self.since = self.begun + 1, now
            elif word == "e":
                self.saves.append(now - self.since)
            elif word == "d":
                self.end_mark = more
            elif word == "x":
                self.trouble = more

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        if self.alive:
            self.kill()
            os.waitpid(self.pid, 0)
            os.close(self.pipe)
            self.alive = False


class _Watch:
    """Kills when it is time."""

    def __init__(self, children: Sequence[_Child], kill: Kill | None, start: float) -> None:
        self._children, self._kill = children, kill
        self._at = start + kill.delay if kill is not None and kill.save is None else float("inf")
        self._victims = [c for k, c in enumerate(children) if kill is None or kill.rank in (None, k)]
        self._shot = False
        self._grace = float("inf")

    @property
    def killed(self) -> bool:
        """Has it hit one that was not done? Told when all that they had to say is heard."""
        return self._shot and any(not child.end_mark for child in self._victims)

    def look(self) -> None:
        now = time.monotonic()
        begun = self._victims[0].begun
        if self._kill is not None and 0 < (self._kill.save or 0) <= begun and self._at == float("inf"):
            self._at = self._victims[0].since + self._kill.delay
        if now >= self._at and self._kill is not None:
            self._shot = True
            for child in self._victims:
                child.kill()
            self._at, self._kill, self._grace = float("inf"), None, now + 3.0
        if now >= self._grace:
            for child in self._children:
                child.end()
        alive = {child.pipe: child for child in self._children if child.alive}
        wait = max(0.0, min(0.5, self._at - now, self._grace - now))
        if wait < 0.002 and self._at < float("inf"):
            time.sleep(max(0.0, self._at - time.monotonic()))
            return
        for pipe in select.select(list(alive), [], [], wait)[0]:
            alive[pipe].hear()


def _be(work: Work, rank: int, pipe: int) -> NoReturn:
    """The life of a forked process."""
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        end = work(rank, lambda where: _say(pipe, where))
        _say(pipe, f"d {end}")
    except BaseException as trouble:
        last = traceback.extract_tb(trouble.__traceback__)[-1]
        _say(pipe, f"x {type(trouble).__name__}: {trouble} ({Path(last.filename).name}:{last.lineno})")
    finally:
        os._exit(0)


def _say(pipe: int, text: str) -> None:
    os.write(pipe, " ".join(text.split())[:1000].encode() + b"\n")


def warm() -> None:
    """Import what lives need, once and for all of them; and be one thread, since a fork takes no other along."""
    import torch

    torch.set_num_threads(1)
    for name in ("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor", "torch.optim.swa_utils"):
        __import__(name)


__all__ = ["ENOUGH", "Kill", "Life", "Work", "live", "warm"]
