"""Names of trials: folders that people can read, made of a trial's values alone, so that they stay as a sweep grows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_MOST = 120  # characters: file systems allow 255 bytes


def digest(value: Any, length: int = 64) -> str:
    """The SHA-256 of plain data, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def name_of(method: str, target: Any, own: Mapping[str, Any], over: Mapping[str, Any], seed: int) -> str:
    """For instance ``greg1-macs0.5-grow0.001-seed0``. What cannot stand in the name of a folder is told by a digest."""
    parts = [_word(method), *_said("target", target), *_each(own), *_each(over), f"seed{seed}"]
    name = "-".join(parts)
    if len(name) <= _MOST:
        return name
    return f"{name[: _MOST - 24].rstrip('.-')}-{digest(name, 8)}-seed{seed}"


def said(key: str, value: Any) -> str:
    """A value as people read it: ``macs 0.5, round_to 8``; ``grow 0.001``."""
    if isinstance(value, Mapping):
        return ", ".join(said(inner, item) for inner, item in value.items())
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return f"{key} {text}"


def _each(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield from _said(key, value)


def _said(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and all(not isinstance(item, (Mapping, list)) for item in value.values()):
        for inner, item in value.items():
            yield _word(f"{inner}{_short(item)}")
    else:
        yield _word(f"{key}{_short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, (Mapping, list)):
        return digest(value, 6)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _word(text: str) -> str:
    """The text, if a folder may be called so; otherwise what may stay of it, and a digest of all."""
    if _PLAIN.fullmatch(text) and not text.startswith((".", "-")):
        return text
    kept = "-".join(_PLAIN.findall(text)).strip(".-")[:40]
    return f"{kept}-{digest(text, 6)}" if kept else digest(text, 6)


__all__ = ["digest", "name_of", "said"]
