"""A run's state in one file that tells whether it is whole: its last bytes are the SHA-256 of all others."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
import torch.distributed as dist

from niwaki.errors import BadInput, BrokenFile
from niwaki.replacing import replacing

MARK = b"niwaki, sealed 1"
_SEAL = struct.Struct("<16sQ32s")  # the mark, the number of bytes before, and their SHA-256
_CHUNK = 1 << 20


def seal(state: Any, path: Path) -> None:
    """Write tensors and plain data: whole, sealed and on the disk, or not at all. ``torch.load`` reads it too.

    Raises:
        CannotWrite: the disk refuses; what was under this name is as it was. BadInput: what cannot be written at all.
    """
    with replacing(path) as part, part.open("wb") as file:
        stream = _Hashed(file)
        try:
            torch.save(state, cast(IO[bytes], stream))
        except Exception as trouble:
            if stream.trouble is not None:  # torch tells of it in words of its own
                raise stream.trouble from trouble
            if isinstance(trouble, (AttributeError, TypeError)) or type(trouble).__name__ == "PicklingError":
                raise _more(path, str(trouble)) from trouble
            raise
        file.write(_SEAL.pack(MARK, stream.size, stream.found.digest()))


def unseal(path: Path) -> Any:
    """What was sealed, on the CPU. Nothing in it can run code.

    Raises:
        BrokenFile: the file is not there, cut short, or not as it was written; the message says which.
        BadInput: it is whole, and holds more than tensors and plain data.
    """
    require_whole(path)
    return _loaded(path, "cpu")


def require_readable(path: Path) -> None:
    """See that what was just sealed can be read again. The tensors' numbers are not read.

    Raises:
        BadInput: it holds more than tensors and plain data.
    """
    try:
        _loaded(path, "meta")
    except BadInput:  # of tensors of some layouts there is no other way to know
        _loaded(path, "cpu")


def require_whole(path: Path) -> None:
    """Compare the file with its seal.

    Raises:
        BrokenFile: it is not there, cut short, or not as it was written.
    """
    try:
        with path.open("rb") as file:
            reason = _fault(file, path.stat().st_size)
    except OSError as trouble:
        raise BrokenFile(f"{path} cannot be read ({trouble.strerror})") from trouble
    if reason:
        raise BrokenFile(f"{path} {reason}")


def _fault(file: BinaryIO, size: int) -> str:
    """What is wrong with a file; nothing, if it is whole."""
    if size == 0:
        return "is empty"
    if size < _SEAL.size:
        return f"is cut short: {size} bytes are left"
    file.seek(size - _SEAL.size)
    mark, length, wanted = _SEAL.unpack(file.read(_SEAL.size))
    if mark != MARK:
        return f"is cut short, or was not written by this release: {size:,} bytes without a seal at their end"
    if length != size - _SEAL.size:
        return f"has {size - _SEAL.size:,} bytes where {length:,} were written"
    file.seek(0)
    found = hashlib.sha256()
    while length > 0 and (chunk := file.read(min(_CHUNK, length))):
        found.update(chunk)
        length -= len(chunk)
    return "" if found.digest() == wanted else "is not as it was written: its checksum is another"


def _loaded(path: Path, device: str) -> Any:
    if dist.is_available() and dist.is_initialized():
        from torch.distributed import tensor  # noqa: F401 - so that torch.load knows tensors in shards
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as trouble:  # it is whole, so this was in it when it was written
        found = re.search(r"GLOBAL (\S+)", str(trouble))
        raise _more(path, found[1] if found else str(trouble)) from trouble


def _more(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path} holds more than tensors and plain data ({what}), and nothing that could run code is read. Save "
        "state_dict()s, numbers, strings, lists and dicts."
    )


class _Hashed:
    """A file that knows how many bytes were written to it, their hash, and what it could not write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size, self.found = 0, hashlib.sha256()
        self.trouble: OSError | None = None

    def write(self, data: Any) -> int:
        """As of a file."""
        try:
            self._file.write(data)
        except OSError as trouble:
            self.trouble = self.trouble or trouble
            raise
        self.size += memoryview(data).nbytes
        self.found.update(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """As of a file."""
        self._file.flush()


__all__ = ["require_readable", "require_whole", "seal", "unseal"]
