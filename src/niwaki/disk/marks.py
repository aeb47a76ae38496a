"""Marks: files that say what the weights beside them are. They are gone before other weights lie there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PLAN = "plan.json"
"""Written last of what lies beside pruned weights: where it is, the folder is whole."""


@contextmanager
def unmarking(path: Path, marks: Iterable[Path]) -> Iterator[Callable[[Path], None]]:
    """Gives a function to call with the new file once it is on the disk, right before it takes the place of ``path``:
    the marks are out of the way then. They are gone if the new file comes there, and back if it does not."""
    aside: dict[Path, Path] = {}
    new: list[os.stat_result] = []

    def withdraw(part: Path) -> None:
        new.append(part.stat())
        for mark in marks:
            with suppress(FileNotFoundError):
                aside[mark] = mark.rename(mark.with_name(f"{mark.name}.{os.getpid()}.{secrets.token_hex(4)}.part"))

    there = True
    try:
        yield withdraw
    except BaseException:
        # An interruption may come when the new file is there already: the old marks would lie about it.
        there = any(_is(path, one) for one in new)
        raise
    finally:
        for mark, old in aside.items():
            with suppress(OSError):
                old.unlink() if there else old.rename(mark)


def _is(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False


__all__ = ["PLAN", "unmarking"]
