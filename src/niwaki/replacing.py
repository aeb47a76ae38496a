"""Files are written whole or not at all, and what was written outlives a power cut."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from niwaki.errors import CannotWrite

_ROOM = "Make room, or name another folder."
_ANOTHER = "Name another folder."
_REASONS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        errno.ENOSPC: ("the disk is full", _ROOM),
        errno.EDQUOT: ("your quota is used up", _ROOM),
        errno.EFBIG: ("a file may not be as large as that", "See ulimit -f, or name a folder on another disk."),
        errno.EIO: ("the disk fails", _ANOTHER),
        errno.ESTALE: ("the folder of a network is gone", "Mount it again, or name another folder."),
        errno.EROFS: ("the disk may only be read", _ANOTHER),
        errno.EMFILE: ("too many files are open", "Close some, or raise ulimit -n."),
        errno.ENFILE: ("too many files are open on this machine", "Close some."),
    }
)
"""Of the disk, whichever file it was. What is wrong, and what to do."""
_OF_A_PATH: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        errno.EACCES: ("you may not write there", "Change its rights, or name another folder."),
        errno.EPERM: ("you may not write there", "Change its rights, or name another folder."),
        errno.ENOTDIR: ("a file is where its folder must be", "Remove that file, or name another folder."),
        errno.EEXIST: ("a file is where its folder must be", "Remove that file, or name another folder."),
        errno.EISDIR: ("a folder has its name", "Remove that folder, or name another one."),
        errno.ENOENT: ("its folder is not there", "Make the folder, or name another one."),
        errno.ENAMETOOLONG: ("its name is too long", "Name another folder."),
    }
)
"""Of one path, which may be of another file than ours."""
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)  # some file systems, of folders


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to inside; what was written takes its place at the end.

    Who is broken off while it writes leaves the old file as it was, and no half of a new one under its name: the new
    one is on the disk before it takes the name. Of several processes that write the same, each has a path of its own,
    and the last one's file stays.

    Raises:
        CannotWrite: the disk is full, may only be read, and the like. The old file is as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with told(path, part):
            yield part
            _to_disk(part)
            os.replace(part, path)
            _to_disk(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def told(path: Path, *written: Path) -> Iterator[None]:
    """Inside ``path`` is written: what the disk refuses is told as such. ``written``: files on the way there.

    Raises:
        CannotWrite: in place of the error that the disk, or a library that writes, has raised.
    """
    try:
        yield
    except CannotWrite:
        raise
    except Exception as trouble:
        number = _number(trouble, (path, *written))
        if number is None:
            raise
        raise _refusal(path, number, _size(written)) from trouble


def made(folder: Path) -> Path:
    """Make a folder and those above it, where they are not there; returns it.

    Raises:
        CannotWrite: it cannot be made.
    """
    with told(folder, *folder.parents):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def writable(folder: Path) -> Path:
    """Make a folder, and see that files can be written to it, before hours are spent on what is to go there.

    Raises:
        CannotWrite: it cannot be made, or nothing can be written to it.
    """
    probe = made(folder) / f"probe.{os.getpid()}.part"
    with told(folder / "a file", probe):
        try:
            probe.write_bytes(b"niwaki")
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    return folder


def swept(folder: Path, pattern: str = "*") -> None:
    """Remove parts of files that writers left when they were killed. No other process may be writing there."""
    for part in folder.glob(f"{pattern}.*.part"):
        with suppress(OSError):
            part.unlink()


def _to_disk(path: Path) -> None:
    """Wait until it is there: a name that is on the disk before its bytes is an empty file after a power cut."""
    if os.name == "nt" and path.is_dir():
        return
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    except OSError as trouble:
        if trouble.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(file)


def _number(trouble: Exception, ours: tuple[Path, ...]) -> int | None:
    """The system's number of an error that the disk is to blame for."""
    if isinstance(trouble, OSError):
        number = trouble.errno
    else:  # libraries in Rust tell it in words
        found = re.search(r"\(os error (\d+)\)", str(trouble))
        number = int(found[1]) if found else None
    if number in _REASONS:
        return number
    named = getattr(trouble, "filename", None)
    folder = ours[0].parent
    known = not isinstance(trouble, OSError) or (named is not None and Path(os.fsdecode(named)) in {*ours, folder})
    return number if number in _OF_A_PATH and known else None


def _refusal(path: Path, number: int, size: int) -> CannotWrite:
    reason, advice = {**_REASONS, **_OF_A_PATH}[number]
    told = f"{path} cannot be written: {reason} ({os.strerror(number)}"
    if size:
        told += f", after {size:,} bytes"
    free = _free(path)
    if free is not None and number in (errno.ENOSPC, errno.EDQUOT):
        told += f"; there is room for {free + size:,}"
    refusal = CannotWrite(f"{told}). What was there before is as it was. {advice}")
    refusal.errno = number
    return refusal


def _size(written: tuple[Path, ...]) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in written if path.is_file())
    return 0


def _free(path: Path) -> int | None:
    """Bytes that are free on the disk of a path."""
    for folder in path.parents:
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


__all__ = ["made", "replacing", "swept", "told", "writable"]
