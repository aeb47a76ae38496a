"""The record of pressing: one JSON line an event, cut back to where a job goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Record:
    """Appends rows to a file, without the norms of single units, which would fill it.

    Args:
        path: of the file. steps: how many the run has behind it; rows of later ones are of a piece that was not kept.
    """

    def __init__(self, path: Path, steps: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._path = path
        path.write_text("".join(f"{line}\n" for line in old if _step(line) < steps), encoding="utf-8")

    def __call__(self, row: dict[str, Any]) -> None:
        """Add a row."""
        kept = {key: value for key, value in row.items() if key != "norms"}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


def _step(line: str) -> float:
    """The step of a row; infinite if the line was not written to its end."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return float("inf")


__all__ = ["Record"]
