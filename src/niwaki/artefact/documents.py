"""The JSON files of a folder: written whole or not at all, read with every surprise told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from niwaki.errors import BrokenFile
from niwaki.replacing import replacing

VERSION = 1


def write_json(path: Path, kind: str, data: Mapping[str, Any]) -> None:
    """Write ``data`` under its format ``niwaki.KIND``."""
    told = {"format": f"niwaki.{kind}", "version": VERSION, **data}
    write_text(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """What :func:`write_json` wrote.

    Raises:
        BrokenFile: there is no such file, it cannot be read, or it is something else.
    """
    found = read_object(path)
    if found.get("format") != f"niwaki.{kind}":
        raise BrokenFile(f"{path} must have the format 'niwaki.{kind}', found {found.get('format')!r}")
    if found.get("version") != VERSION:
        raise BrokenFile(f"{path} has version {found.get('version')!r}; this release of niwaki reads {VERSION}")
    return found


def read_object(path: Path) -> dict[str, Any]:
    """Any JSON object.

    Raises:
        BrokenFile: there is no such file, or it holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenFile(f"there is no {path}") from None
    except (ValueError, RecursionError, OSError) as trouble:
        raise BrokenFile(f"{path} is not readable JSON (cut short?): {trouble}") from trouble
    if not isinstance(found, dict):
        raise BrokenFile(f"{path} must hold a JSON object, found {type(found).__name__}")
    return found


__all__ = ["read_json", "read_object", "write_json", "write_text"]
