"""A sweep on disk: a folder for each trial, in which lie what it is, how it stands and how it ended.

Every file is replaced whole, and each is written by one process alone, so that a sweep that is killed at any moment
leaves nothing that a later one could take for something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, BrokenFile, NiwakiError
from niwaki.recipes.checks import plain
from niwaki.replacing import made, replacing
from niwaki.report import Report
from niwaki.sweeps.grid import Trial
from niwaki.sweeps.names import digest
from niwaki.wording import some

VERSION = 1
TRIALS, TRIAL, OUTCOME, STATUS, LOG = "trials", "trial.json", "outcome.json", "status.json", "log.txt"
LOCK = "lock"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. ``exit``: the status of its process, below 0 the signal that ended it; ``said``: the end of
    its log, if it failed; ``seconds``: of its last process alone."""

    exit: int
    seconds: float
    said: str = ""

    @property
    def failed(self) -> bool:
        return self.exit != 0


@dataclass(frozen=True)
class Status:
    """What a trial that is under way is doing: a stage, and how many of its steps are done, if they can be counted."""

    stage: str = "waits"
    done: int = 0
    total: int | None = None
    note: str = ""


def write_json(path: Path, value: Any) -> None:
    """Plain data as JSON, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a file of ours; None if there is no such file.

    Raises:
        BrokenFile: it is no JSON, or no mapping.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as trouble:
        raise BrokenFile(f"{path} cannot be read ({trouble}); remove it") from trouble
    if not isinstance(found, dict):
        raise BrokenFile(f"{path} is not a file of a sweep; remove it")
    return found


class Ledger:
    """The folder of a sweep."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def folder(self, trial: Trial) -> Path:
        return self.out / TRIALS / trial.name

    def outcome(self, trial: Trial) -> Outcome | None:
        """How it ended; None if it has not. One whose report cannot be read has failed, whatever its process said."""
        found = read_json(self.folder(trial) / OUTCOME)
        if found is None:
            return None
        outcome = Outcome(**{key: found[key] for key in ("exit", "seconds", "said")})
        trouble = "" if outcome.failed else _unreadable(self.folder(trial))
        return replace(outcome, exit=1, said=f"its report cannot be read: {trouble}") if trouble else outcome

    def report(self, trial: Trial) -> Report | None:
        """The report of a trial that is finished."""
        outcome = self.outcome(trial)
        return None if outcome is None or outcome.failed else Report.load(self.folder(trial))

    def write(self, trial: Trial, told: Mapping[str, Any]) -> Path:
        """Note what a trial is, and what its process needs to know."""
        folder = self.folder(trial)
        made(folder)
        (folder / STATUS).unlink(missing_ok=True)  # of an earlier process: it says nothing of how it stands now
        write_json(folder / TRIAL, {"version": VERSION, "values": trial.values, "digest": trial.digest, **told})
        return folder

    def forget(self, trial: Trial) -> None:
        """That it failed, so that it is tried again; a report that cannot be read would only make it fail again."""
        folder = self.folder(trial)
        (folder / OUTCOME).unlink(missing_ok=True)
        if _unreadable(folder):
            (folder / "report.json").unlink(missing_ok=True)

    def strays(self, trials: Sequence[Trial]) -> list[str]:
        """Names of trials that were run and that the sweep does not ask for."""
        asked, place = {trial.name for trial in trials}, self.out / TRIALS
        return sorted(p.name for p in place.iterdir() if p.name not in asked) if place.is_dir() else []

    def require_same(self, trials: Sequence[Trial]) -> None:
        """See that what was run before under the names of these trials was these trials.

        Raises:
            BadInput: a recipe or a method has changed since; the message names the trials and the keys.
        """
        changes = {trial.name: keys for trial in trials if (keys := self._changed(trial))}
        if not changes:
            return
        names = list(changes)
        what = ", ".join(changes[names[0]])
        raise BadInput(
            f"{some(names)} in {self.out / TRIALS} were run with another {what}. "
            "Give the old settings again, name another folder with --out, or remove theirs to run them anew"
        )

    def _changed(self, trial: Trial) -> list[str]:
        """The recipe's keys that it was run with otherwise; none of a trial that never began."""
        from niwaki.recipes.standing import RUN

        folder = self.folder(trial)
        found = read_json(folder / TRIAL) if any((folder / name).is_file() for name in (RUN, OUTCOME)) else None
        if found is None or found.get("digest") == trial.digest:
            return []
        old, new = found.get("recipe", {}), plain(trial.data)
        ours = ("out", "measure", "weights" if trial.data.get("weights") is None else "")
        keys = [k for k in {**old, **new} if k not in ours and digest(old.get(k)) != digest(new.get(k))]
        return keys or ["recipe"]


def _unreadable(folder: Path) -> str:
    """What is wrong with the report in a folder; nothing if it can be read."""
    try:
        Report.load(folder)
    except NiwakiError as trouble:
        return str(trouble)
    return ""


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Note how the trial of this folder ended."""
    write_json(folder / OUTCOME, asdict(outcome))


def write_status(folder: Path, status: Status) -> None:
    """Note what the trial of this folder is doing."""
    write_json(folder / STATUS, asdict(status))


def status_of(folder: Path) -> Status:
    """What the trial of this folder said last that it was doing."""
    try:
        found = read_json(folder / STATUS)
    except BrokenFile:
        found = None
    return Status() if found is None else Status(**found)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Inside, no other sweep works in this folder; a lock ends with the process that has it.

    Raises:
        BadInput: another one does.
    """
    try:
        import fcntl
    except ImportError:  # not on every system; there it is for the user to start a sweep once
        yield
        return
    made(out)
    with (out / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(
                f"another sweep is at work in {out}; wait for it, or name another folder with --out"
            ) from None
        yield


__all__ = [
    "LOG", "STATUS", "TRIAL", "TRIALS", "Ledger", "Outcome", "Status", "locked", "read_json", "status_of", "write_json",
    "write_outcome", "write_status",
]  # fmt: skip
