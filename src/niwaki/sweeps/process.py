"""One trial as a process of its own: started, waited for, stopped, and its end noted in its folder.

Here and on a machine of a cluster it is the same function that does it, so that a trial gives the same in both places.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from niwaki.sweeps.ledger import LOG, Outcome, write_outcome

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# As ``python -m niwaki.sweeps.trial``, but that the current directory is not searched first: a file there with the name
# of one of Python's modules would take its place.
_TRIAL = """import sys; sys.path[:] = filter(None, sys.path)
from niwaki.sweeps.trial import main; sys.exit(main(sys.argv[1:]))"""
_PATIENCE = 10.0  # seconds between asking a process to end and ending it
_TAIL, _MOST = 6, 2000  # lines of a log that are told, and characters


class Processes:
    """The trials that this process runs now; :meth:`stop` ends them, and no other starts afterwards."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def run(self, folder: Path, threads: int, more: Mapping[str, str]) -> Outcome | None:
        """Run the trial of a folder to its end. ``more``: of the environment. None: it was stopped, and goes on another
        time."""
        log, since = folder / LOG, time.monotonic()
        before = log.stat().st_size if log.is_file() else 0
        process = self._start(folder, threads, more)
        if process is None:
            return None
        code = process.wait()
        _signal(process, signal.SIGKILL)  # what it has started and left behind
        assert process.stdin is not None
        process.stdin.close()
        with self._lock:
            self._running.discard(process)
            if self._stopped and code:
                return None
        outcome = Outcome(code, time.monotonic() - since, tail(log, before) if code else "")
        write_outcome(folder, outcome)
        return outcome

    def stop(self) -> None:
        """End all of them; what they have not kept in a checkpoint is lost."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            _signal(process, signal.SIGKILL)

    def _start(self, folder: Path, threads: int, more: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        words = [sys.executable, "-c", _TRIAL, str(folder)]
        with self._lock, (folder / LOG).open("ab") as log:
            if self._stopped:
                return None
            # Its own session: an interruption at the keyboard comes to us alone, and we end it. Its standard input is
            # never written to; it ends with this process, and then the trial ends.
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **more, **dict.fromkeys(_THREADS, str(threads))}, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        return process


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To a trial and to all that it has started: its session is a group of processes with its number."""
    with suppress(ProcessLookupError, PermissionError):  # nobody of them is left
        os.killpg(process.pid, number) if hasattr(os, "killpg") else process.send_signal(number)


def ended(exit: int) -> str:
    """What the status of a process says: "exit status 2", "killed by SIGKILL"."""
    if exit >= 0:
        return f"exit status {exit}"
    try:
        return f"killed by {signal.Signals(-exit).name}"
    except ValueError:
        return f"killed by signal {-exit}"


def tail(log: Path, since: int = 0) -> str:
    """The last lines of a log; its line of an error in one sentence, if it has one. ``since``: what lies before so many
    bytes was said by an earlier process."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 16 * _MOST))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    if lines and lines[-1].startswith("niwaki: "):
        return lines[-1].removeprefix("niwaki: ")[:_MOST]
    return "\n".join(lines[-_TAIL:])[-_MOST:]


__all__ = ["Processes", "ended", "tail"]
