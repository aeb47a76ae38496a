"""``manifest.json``: the SHA-256 and the size of every file of a folder, and what its model is built by.

Hashes tell damage, not malice: who can change a file can change the manifest too. :func:`digest` of the manifest stands
for the whole folder, and can be told on another way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from niwaki.artefact.documents import read_json, write_json
from niwaki.errors import BadInput, BrokenFile

MANIFEST = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """A file as it was: ``sha256`` in hexadecimal, and its size in ``bytes``."""

    sha256: str
    bytes: int

    @staticmethod
    def of(path: Path) -> Stamp:
        return Stamp(digest(path), path.stat().st_size)


@dataclass(frozen=True)
class Manifest:
    """Which files a folder has, by their names in it.

    ``model``: its ``class`` and ``library``; ``function`` and ``arguments`` that build the dense one, if a recipe named
    them.
    """

    files: Mapping[str, Stamp]
    model: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, model: Mapping[str, Any]) -> Manifest:
        """Of all files that lie there now; hidden ones, links and Python's own caches are left out.

        Raises:
            BadInput: a file has a name that :meth:`load` would refuse.
        """
        strange = [name for name in sorted(_names(folder)) if not _plain(name)]
        if strange:
            raise BadInput(
                f"{folder} holds {strange[0]!r}, a name that not every system takes as that of a file. Rename it, or "
                "move it out of the folder"
            )
        return Manifest({name: Stamp.of(folder / name) for name in sorted(_names(folder))}, model)

    def save(self, folder: Path) -> None:
        files = {name: {"sha256": stamp.sha256, "bytes": stamp.bytes} for name, stamp in self.files.items()}
        write_json(folder / MANIFEST, "artefact", {"model": dict(self.model), "files": files})

    @staticmethod
    def load(folder: Path) -> Manifest:
        """Read a manifest. Nothing outside the folder can be meant by it.

        Raises:
            BrokenFile: there is none, it cannot be read, or a name leads out of the folder.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise BrokenFile(f"there is no {MANIFEST} in {folder}: nk.deliver and niwaki prune write such folders")
        found = read_json(path, "artefact")
        files, model = found.get("files"), found.get("model")
        if not isinstance(files, dict) or not isinstance(model, dict):
            raise BrokenFile(f"{path} must list 'files' and tell the 'model'")
        return Manifest({_inside(folder, name): _stamp(path, name, row) for name, row in files.items()}, model)

    def faults(self, folder: Path) -> dict[str, str]:
        """What is wrong with which file; nothing if all are as they were."""
        found = {name: _fault(folder / name, stamp) for name, stamp in self.files.items()}
        return {name: fault for name, fault in found.items() if fault}

    def strangers(self, folder: Path) -> list[str]:
        """Files that lie there and are not listed."""
        return sorted(set(_names(folder)) - set(self.files))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__pycache__" for part in parts) or parts == (MANIFEST,):
            continue
        if path.is_file() and not path.is_symlink():
            yield "/".join(parts)


def _plain(name: str) -> bool:
    """Is it a name that every system takes?"""
    return (
        bool(name)
        and name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and PurePosixPath(name).as_posix() == name
    )


def _inside(folder: Path, name: str) -> str:
    """The name, if it is that of a file in the folder."""
    pure = PurePosixPath(name)
    if not _plain(name) or pure.is_absolute() or {"..", "."} & set(pure.parts) or name == MANIFEST:
        raise BrokenFile(f"{folder / MANIFEST} lists {name!r}, which is no name of a file in the folder; refused")
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise BrokenFile(
            f"{name!r} is a link that leads out of {folder}; refused. Copy the folder with the files themselves "
            "(cp -rL), and check the copy"
        )
    return name


def _stamp(path: Path, name: str, row: Any) -> Stamp:
    sha256, size = (row.get("sha256"), row.get("bytes")) if isinstance(row, dict) else (None, None)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or type(size) is not int or size < 0:
        raise BrokenFile(f"{path}: {name!r} must have a 'sha256' of 64 hexadecimal digits and 'bytes'; found {row!r}")
    return Stamp(sha256, size)


def _fault(path: Path, stamp: Stamp) -> str:
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != stamp.bytes:
        how = "cut short" if size < stamp.bytes else "grown"
        return f"{how}: {size:,} bytes, {stamp.bytes:,} in the manifest"
    return "" if digest(path) == stamp.sha256 else "changed: of the right size, and its sha256 is another"


__all__ = ["MANIFEST", "Manifest", "Stamp", "digest"]
