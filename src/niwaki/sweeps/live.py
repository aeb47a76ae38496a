"""What a sweep tells while it runs: a bar for all and one for each trial under way; without a terminal, what ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from niwaki.recipes.progress import Teller
from niwaki.sweeps.ledger import STATUS, Outcome, Status, status_of
from niwaki.sweeps.process import ended

if TYPE_CHECKING:
    from rich.console import Console

_STALE = 90.0  # seconds without a word, after which a trial that waits on a cluster is not shown as under way


@dataclass
class Count:
    """How many trials there are, and how those that ended did; of ``seconds`` the time left is foretold."""

    total: int
    workers: int
    methods: Mapping[Path, str]
    finished: int = 0
    failed: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, folder: Path, outcome: Outcome) -> None:
        """One more has ended."""
        self.failed += outcome.failed
        self.finished += not outcome.failed
        if not outcome.failed:
            self.seconds.setdefault(self.methods[folder], []).append(outcome.seconds)

    def left(self, waiting: Sequence[Path], running: Mapping[Path, float]) -> float | None:
        """Seconds until the end, if the rest takes as long as the mean of its method so far, or of all of them; None
        before the first is finished. ``running``: seconds that those under way have taken."""
        if not self.seconds:
            return None
        whole = sum(self._mean(folder) for folder in waiting)
        begun = [max(self._mean(folder) - spent, 0.0) for folder, spent in running.items()]
        return max([(whole + sum(begun)) / self.workers, *begun])

    def _mean(self, folder: Path) -> float:
        found = self.seconds.get(self.methods[folder]) or [s for each in self.seconds.values() for s in each]
        return sum(found) / len(found)

    def __str__(self) -> str:
        rest = self.total - self.finished - self.failed
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.finished} finished{failed}, {rest} left"


class View(Protocol):
    """Watches a sweep: ``tick`` now and then, ``end`` when a trial has ended."""

    def tick(self) -> None: ...

    def end(self, folder: Path, outcome: Outcome) -> None: ...


@contextmanager
def watching(folders: Sequence[Path], count: Count, teller: Teller) -> Iterator[View]:
    """A view for the teller's console."""
    plain = Lines(count, teller)
    if teller.quiet or not teller.console.is_terminal:
        yield plain
        return
    with _bars(teller.console) as bars:
        yield Bars(folders, count, bars, plain)


class Lines:
    """A line for each trial that ends."""

    def __init__(self, count: Count, teller: Teller) -> None:
        self.count, self.say = count, teller.say

    def tick(self) -> None:
        """Nothing: what is under way would fill a log."""

    def end(self, folder: Path, outcome: Outcome) -> None:
        self.count.add(folder, outcome)
        if outcome.failed:
            self.say(f"{folder.name}: FAILED, {ended(outcome.exit)} after {outcome.seconds:.0f} s")
            self.say("\n".join(f"    {line}" for line in outcome.said.splitlines()))
        else:
            self.say(f"{folder.name}: finished in {outcome.seconds:.0f} s ({self.count})")


class Bars:
    """Bars of rich, for a terminal; what ended is told above them."""

    def __init__(self, folders: Sequence[Path], count: Count, bars: Any, plain: Lines) -> None:
        self.left, self.count, self.bars, self.plain = list(folders), count, bars, plain
        self.shown: dict[Path, Any] = {}
        self.since: dict[Path, float] = {}
        self.all = bars.add_task("all trials", total=count.total, completed=count.finished + count.failed, note="")
        self.tick()

    def tick(self) -> None:
        """Look at what is under way."""
        for folder in self.left:
            if _speaks(folder) and folder not in self.shown:
                self.shown[folder] = self.bars.add_task(f"  {folder.name}", total=None, note="")
                self.since[folder] = time.monotonic()
        for folder, task in self.shown.items():
            self.bars.update(task, **_shown(status_of(folder)))
        self._tell()

    def end(self, folder: Path, outcome: Outcome) -> None:
        """Take its bar away."""
        self.left.remove(folder)
        if folder in self.shown:
            self.bars.remove_task(self.shown.pop(folder))
        self.plain.end(folder, outcome)
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        running = {folder: now - self.since[folder] for folder in self.shown}
        waiting = [folder for folder in self.left if folder not in running]
        seconds = self.count.left(waiting, running)
        when = "time left is not known before one is finished" if seconds is None else f"about {_time(seconds)} left"
        done = self.count.finished + self.count.failed
        self.bars.update(self.all, completed=done, note=f"{self.count}; {when}" if self.left else str(self.count))


def _bars(console: Console) -> Any:
    from rich import progress as p

    said, beside = (p.TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    return p.Progress(said, p.BarColumn(20), p.MofNCompleteColumn(), beside, console=console)


def _shown(status: Status) -> dict[str, Any]:
    note = f"{status.stage} {status.note}".strip()
    return {"completed": status.done, "total": status.total, "note": note}


def _speaks(folder: Path) -> bool:
    """Has a process of this trial said lately what it does? (Of an earlier sweep it has not.)"""
    try:
        return time.time() - (folder / STATUS).stat().st_mtime < _STALE
    except OSError:
        return False


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


__all__ = ["Bars", "Count", "Lines", "View", "watching"]
