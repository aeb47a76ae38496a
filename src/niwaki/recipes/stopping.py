"""A request to stop, which is heard at once and followed when what is done has been kept."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

# What a signal does where nobody has said otherwise: Ctrl-C, and a scheduler that wants its machine back.
_USUAL: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_HEARD = b"\nniwaki: stopping as soon as what is done is kept; once more stops at once\n"


class Stopping:
    """Inside ``with``, in the main thread, the first SIGINT or SIGTERM is noted and told, and the work goes on to where
    it can be taken up again; there it calls `follow`. The second one does what it usually does. Signals that the
    program hears itself are left to it.

    Attributes:
        asked: the signal that was heard; None as long as there was none.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._mine: list[signal.Signals] = []

    def __enter__(self) -> Stopping:
        if self.asked is None and threading.current_thread() is threading.main_thread():
            self._mine = [number for number, usual in _USUAL.items() if signal.getsignal(number) is usual]
            for number in self._mine:
                signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._give_back()
        # Workers of a loader hear Ctrl-C too; that they are gone is no error of the data.
        if isinstance(error, Exception):
            self.follow()

    def follow(self) -> None:
        """End as the signal would have ended it, if there was one."""
        if self.asked is signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        if self.asked is not None:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        self._give_back()
        os.write(2, _HEARD)  # not through Python's buffers, which may be in the middle of something

    def _give_back(self) -> None:
        for number in self._mine:
            signal.signal(number, _USUAL[number])
        self._mine = []


__all__ = ["Stopping"]
