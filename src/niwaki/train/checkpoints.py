"""The state of a run as a file beside a trainer's own checkpoint."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved
from niwaki.sealing import seal, unseal

FILE = "niwaki_pruning.pt"
"""In every checkpoint's folder: the state of the run, tensors and plain data, and how large the files beside it are."""
VERSION = 1


def write(state: dict[str, Any], folder: Path, beside: Mapping[str, int] | None = None) -> None:
    """Write it, whole or not at all. If that cannot be, training goes on, with a warning: the checkpoint has no state
    then, and those before it have theirs.

    Args:
        beside: files of the trainer's and their bytes (-1: any number but 0); None: all that are there now.
    """
    beside = _sizes(folder) if beside is None else dict(beside)
    try:
        seal({"version": VERSION, "run": state, "beside": beside}, folder / FILE)
    except CannotWrite as trouble:
        told = f"{folder} is a checkpoint without the state of the run, and cannot be gone on from. {trouble}"
        warnings.warn(told, NotSaved, stacklevel=2)


def read(folder: Path) -> dict[str, Any]:
    """What was written. Nothing in it can run code.

    Raises:
        BadInput: there is none. BrokenFile: it, or a file of the trainer's beside it, is not as it was written.
        Both name the newest checkpoint beside it that is whole.
    """
    if not (folder / FILE).is_file():
        raise BadInput(
            f"no {FILE} in {folder}: the checkpoint was written without the run, or the job was killed while it wrote. "
            f"{_instead(folder)}"
        )
    try:
        return _whole(folder)
    except BrokenFile as trouble:
        raise BrokenFile(f"{trouble}. {_instead(folder)}") from trouble


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest checkpoint of a trainer that is whole, the state of the run with it; None if there is none.

    A job that is killed while it writes leaves a folder that looks like a checkpoint. Such are left out, with a
    :class:`~niwaki.errors.Damaged` warning: the state of the run is written last and knows how large the others are.

    Args:
        folder: that holds the checkpoints, such as the Trainer's ``output_dir``: ``checkpoint-500``, ``step_12``, …;
            the highest number is the newest.
    """
    found = list[tuple[int, Path]]()
    for place in Path(folder).iterdir() if Path(folder).is_dir() else ():
        number = re.search(r"(\d+)$", place.name)
        if number and place.is_dir():
            found.append((int(number[1]), place))
    for _, place in sorted(found, reverse=True):
        reason = _fault(place)
        if not reason:
            return place
        warnings.warn(f"{reason}; the checkpoint before is looked at", Damaged, stacklevel=2)
    return None


def _whole(folder: Path) -> dict[str, Any]:
    found = unseal(folder / FILE)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise BrokenFile(f"{folder / FILE} was written by another release")
    for name, size in found["beside"].items():
        path = folder / Path(name).name
        there = path.stat().st_size if path.is_file() else None
        if there is None or (there != size and (size >= 0 or there == 0)):
            told = "is not there" if there is None else f"has {there:,} bytes and was cut short"
            raise BrokenFile(f"{path} {told}")
    state: dict[str, Any] = found["run"]
    return state


def _fault(folder: Path) -> str:
    if not (folder / FILE).is_file():
        return f"{folder} has no {FILE}"
    try:
        _whole(folder)
    except (BrokenFile, BadInput) as trouble:
        return str(trouble)
    return ""


def _instead(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Damaged)
        other = last_checkpoint(folder.parent)
    if other is None or other.resolve() == folder.resolve():
        return "Begin anew, or go on from another one."
    return f"Go on from {other}, the newest beside it that is whole."


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file() and path.name != FILE}


__all__ = ["FILE", "last_checkpoint", "read", "write"]
