"""Local files of text: unpacked if they are compressed, decoded, and told apart by their names."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from niwaki.errors import BadInput, BrokenFile

UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError)


def content(path: Path) -> bytes:
    """What is in a file, unpacked if its name ends in .gz, .xz or .bz2.

    Raises:
        BadInput: there is no such file. BrokenFile: it cannot be unpacked.
    """
    if not path.is_file():
        raise BadInput(f"There is no file {path}; name one that is there.")
    unpack = UNPACK.get(path.suffix)
    data = path.read_bytes()
    if unpack is None:
        return data
    try:
        return unpack(data)
    except _DAMAGED as error:
        raise BrokenFile(f"{path} cannot be unpacked ({error}); it is damaged: copy it again.") from error


def text(path: Path) -> str:
    """A file's text. It must be UTF-8; a mark of the byte order at its start is left out.

    Raises:
        BadInput: there is no such file, or it is not UTF-8. BrokenFile: it cannot be unpacked.
    """
    data = content(path)
    if data.startswith(_UTF16):
        raise BadInput(f"{path} is UTF-16. Save the file as UTF-8 first, for instance with iconv -f UTF-16 -t UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Not in data: where that begins with a mark, the decoder counts from behind it.
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8. Save the file as UTF-8 first, "
            "for instance with iconv -f LATIN1 -t UTF-8."
        ) from error


def form(path: Path) -> str:
    """The ending that says what is in a file: that of ``train.tsv.xz`` is ``tsv``."""
    inner = path.with_suffix("") if path.suffix in UNPACK else path
    return inner.suffix.removeprefix(".").lower()


__all__ = ["UNPACK", "content", "form", "text"]
