"""IDX files, the form in which MNIST comes: plain, or compressed by gzip or xz."""

from __future__ import annotations

import gzip
import lzma
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from niwaki.errors import BadInput, BrokenFile

_BYTES = 8  # the type of unsigned bytes, the only one in MNIST
_OPENERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}
ENDINGS = tuple(_OPENERS)


def read_idx(path: Path) -> np.ndarray:
    """The array in one file, uint8, of any rank.

    An IDX file is two zero bytes, the type, the rank, each size as a big-endian number of four bytes, then the entries.

    Raises:
        BadInput: the entries are no unsigned bytes, or the name ends in a compression that is not read.
        BrokenFile: the file is damaged, cut off, or no IDX file.
    """
    raw = _unpacked(path)
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise BrokenFile(f"{path} is no IDX file: it does not begin with two zero bytes; fetch it again")
    if raw[2] != _BYTES:
        raise BadInput(f"{path} holds numbers of type 0x{raw[2]:02x}; only unsigned bytes (0x08) are read")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise BrokenFile(f"{path} ends within its sizes; fetch it again")
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist()
    if len(raw) - start != math.prod(shape):
        raise BrokenFile(f"{path} says {shape} and holds {len(raw) - start} bytes; fetch it again")
    # A copy, because PyTorch wants memory that it may write to.
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def _unpacked(path: Path) -> bytes:
    ending = path.suffix if path.suffix in _OPENERS else ""
    try:
        return _OPENERS[ending](path.read_bytes())
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise BrokenFile(f"{path} cannot be unpacked ({error}); fetch it again") from error


__all__ = ["ENDINGS", "read_idx"]
