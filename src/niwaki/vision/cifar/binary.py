"""The binary version of CIFAR, packed or unpacked: one or two label bytes, then red, green and blue, row by row."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from niwaki.errors import BadInput
from niwaki.vision.cifar.edition import MOST, PIXELS, SIDE, Edition, Part

_UNPACKED = (MOST + 10_000) * (PIXELS + 2) + 2**22  # bytes of the largest honest archive, with room for its headers


def found(folder: Path, edition: Edition) -> bool:
    """Whether the archive or any of its files is there."""
    return any((folder / name).is_file() for name in (edition.archive, edition.test, *edition.train))


def read(folder: Path, edition: Edition) -> tuple[Part, Part]:
    """The training and the test part, of the unpacked files if there are any.

    A file has as many images as its size allows.

    Raises:
        BadInput: a file is missing, damaged or too large.
    """
    names = (*edition.train, edition.test)
    if any((folder / name).is_file() for name in names):
        raw = {name: _bytes(folder / name, edition) for name in names}
    else:
        raw = _unpacked(folder / edition.archive, edition)
    parts = {name: _part(content, folder / name, edition) for name, content in raw.items()}
    return _joined([parts[name] for name in edition.train]), parts[edition.test]


def _part(raw: bytes, path: Path, edition: Edition) -> Part:
    _check_size(len(raw), path, edition)
    records = np.frombuffer(raw, np.uint8).reshape(-1, edition.labels + PIXELS)
    images = records[:, edition.labels :].reshape(-1, 3, SIDE, SIDE)
    # Copies, because PyTorch wants memory that it may write to.
    return Part(images.copy(), records[:, edition.labels - 1].astype(np.int64))


def _joined(parts: list[Part]) -> Part:
    return Part(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))


def _bytes(path: Path, edition: Edition) -> bytes:
    try:
        _check_size(path.stat().st_size, path, edition)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; unpack {edition.archive} again.") from error


def _unpacked(path: Path, edition: Edition) -> dict[str, bytes]:
    """The archive's data files by name, read as a stream; nothing is written to disk, no link is followed."""
    try:
        with gzip.open(path) as packed:
            bounded = _Bounded(packed, path)
            with tarfile.open(fileobj=bounded, mode="r|") as archive:  # type: ignore[call-overload]
                content = _members(archive, path, edition)
            while bounded.read(1 << 16):  # tar stops at its own end mark; only at that of gzip is the checksum compared
                pass
    except BadInput:
        raise
    except (tarfile.TarError, OSError, ValueError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be unpacked ({error}); it is damaged: copy it again.") from error
    for name in (*edition.train, edition.test):
        if name not in content:
            raise BadInput(f"{path} has no {edition.folder}/{name}; it is not {edition.archive}, or not whole.")
    return content


def _members(archive: tarfile.TarFile, path: Path, edition: Edition) -> dict[str, bytes]:
    expected = {f"{edition.folder}/{name}": name for name in (*edition.train, edition.test)}
    content: dict[str, bytes] = {}
    for member in archive:
        name = expected.get(member.name)
        if name is None:
            continue
        stream = archive.extractfile(member) if member.isreg() and name not in content else None
        if stream is None:
            raise BadInput(f"{path} has {member.name} twice, or not as a plain file; do not trust it, get another.")
        _check_size(member.size, path / member.name, edition)
        content[name] = stream.read()
    return content


def _check_size(size: int, path: Path, edition: Edition) -> None:
    record = edition.labels + PIXELS
    if not 0 < size <= MOST * record or size % record:
        raise BadInput(
            f"{path} has {size} bytes, where 1 to {MOST} images of {edition.name} of {record} bytes each are due; "
            f"it is damaged or something else: copy {edition.archive} again."
        )


class _Bounded:
    """The reading end of a stream that ends in an error where it is longer than CIFAR."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, path: Path) -> None:
        self._stream, self._path, self._left = stream, path, _UNPACKED

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise BadInput(f"{self._path} unpacks to more than {_UNPACKED} bytes, so it is not CIFAR; get another.")
        return chunk
