"""Results of a benchmark: a JSON file for each job, written whole, which a later run with the same settings reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from niwaki.errors import BrokenFile
from niwaki.replacing import made, replacing

Result = dict[str, Any]


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write a result; its folder is made."""
    made(path.parent)
    with replacing(path) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read(path: Path, told: Mapping[str, Any], trouble: str = "has another {key}: {found}, not {ours}") -> Result | None:
    """A result, or None if it is not there yet.

    Args:
        told: what it must agree on, as JSON gives it back: lists, not tuples.
        trouble: how it is said where it does not.

    Raises:
        BrokenFile: it is of other settings.
    """
    if not path.is_file():
        return None
    found: Result = json.loads(path.read_text(encoding="utf-8"))
    for key, ours in told.items():
        if found.get(key) != ours:
            said = trouble.format(key=key, found=found.get(key), ours=ours)
            raise BrokenFile(f"{path} {said}; remove it, or name another folder")
    return found


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_all(folder: Path) -> list[Result]:
    """All results in a folder, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


__all__ = ["Result", "digest", "read", "read_all", "write"]
