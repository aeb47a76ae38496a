"""Files are written whole or not at all, and what was written outlives a power cut."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
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
_PART = r"\.(?P<process>\d+)(?:\.[0-9a-f]{8})?\.part"
"""Behind a file's name while it is written: by which process, and a token, since in containers many have one number."""
_AS_IT_WAS = "What was there before is as it was."
_IN_PLACE = "The new file is in its place, and may be gone after a power cut."


@contextmanager
def replacing(path: Path, ready: Callable[[Path], object] = lambda part: None) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to inside; what was written takes its place at the end.

    Who is broken off while it writes leaves the old file as it was, and no half of a new one under its name: the new
    one is on the disk before it takes the name. Of several processes that write the same, each has a path of its own,
    and the last one's file stays. The path is there, empty, and the file gets the rights of any new file, whatever
    those are that the writer gives it: safetensors' are for the owner alone.

    Args:
        path: what is replaced. ready: called with the new file when it is on the disk, right before it takes its place.

    Raises:
        CannotWrite: the disk is full, may only be read, and the like. The old file is as it was; or, where the message
            says so, the new one is in its place, but the disk has not confirmed it.
    """
    part = _part(path)
    try:
        with told(path, part):
            rights = _begun(part)
            yield part
            _to_disk(part)
            _set_rights(part, rights)
            ready(part)
            os.replace(part, path)
        with told(path, then=_IN_PLACE):
            _to_disk(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def told(path: Path, *written: Path, then: str = _AS_IT_WAS) -> Iterator[None]:
    """Inside ``path`` is written: what the disk refuses is told as such. ``written``: files on the way there. ``then``:
    what is there if it fails.

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
        raise _refusal(path, number, _size(written), then) from trouble


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
    probe = _part(made(folder) / "probe")
    with told(folder / "a file", probe):
        try:
            probe.write_bytes(b"niwaki")
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    return folder


def swept(folder: Path) -> None:
    """Remove parts of files that writers left when they were killed. No other process may be writing there."""
    for part in folder.iterdir():
        if re.search(rf".{_PART}$", part.name, re.ASCII):
            with suppress(OSError):
                part.unlink()


def left(folder: Path, names: str) -> list[Path]:
    """Parts of files that killed writers left; those of other processes that live on this machine are not among them.
    ``names``: a pattern (``re``) of the files' whole names."""
    there = folder.iterdir() if folder.is_dir() else ()
    found = [(re.fullmatch(rf"(?:{names}|probe){_PART}", path.name, re.ASCII), path) for path in there]
    return sorted(path for part, path in found if part is not None and not _lives(int(part["process"])))


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")


def _begun(part: Path) -> int:
    """Make an empty file, and tell its rights: the only way to learn them that other threads do not feel."""
    with part.open("xb") as file:
        return stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def _set_rights(part: Path, rights: int) -> None:
    if stat.S_IMODE(part.stat().st_mode) != rights:
        with suppress(OSError):  # of file systems that know no rights
            part.chmod(rights)


def _lives(process: int) -> bool:
    """Is it another process of this machine?"""
    if process == os.getpid() or os.name == "nt":  # where what is open cannot be removed
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


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
    else:  # libraries in Rust tell it in words; Windows has numbers of its own
        found = re.search(r"\(os error (\d+)\)", str(trouble)) if os.name == "posix" else None
        number = int(found[1]) if found else None
    if number in _REASONS:
        return number
    named = getattr(trouble, "filename", None)
    folder = ours[0].parent
    known = not isinstance(trouble, OSError) or (named is not None and Path(os.fsdecode(named)) in {*ours, folder})
    return number if number in _OF_A_PATH and known else None


def _refusal(path: Path, number: int, size: int, then: str) -> CannotWrite:
    reason, advice = {**_REASONS, **_OF_A_PATH}[number]
    told = f"{path} cannot be written: {reason} ({os.strerror(number)}"
    if size:
        told += f", after {size:,} bytes"
    free = _free(path)
    if free is not None and number in (errno.ENOSPC, errno.EDQUOT):
        told += f"; there is room for {free + size:,}"
    refusal = CannotWrite(f"{told}). {then} {advice}")
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


__all__ = ["left", "made", "replacing", "swept", "told", "writable"]
