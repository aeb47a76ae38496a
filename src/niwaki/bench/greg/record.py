"""The record of pressing: one JSON line an event, cut back to where a job goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from niwaki.replacing import made, replacing


class Record:
    """Appends rows to a file, without the norms of single units, which would fill it.

    Args:
        path: of the file. rows: how many it had where the run goes on; later ones are of a piece that was not kept.
    """

    def __init__(self, path: Path, rows: int) -> None:
        made(path.parent)
        old = path.read_text(encoding="utf-8").splitlines()[:rows] if path.is_file() else []
        self._path, self.rows = path, len(old)
        with replacing(path) as part:
            part.write_text("".join(f"{line}\n" for line in old), encoding="utf-8")

    def __call__(self, row: dict[str, Any]) -> None:
        """Add a row."""
        kept = {key: value for key, value in row.items() if key != "norms"}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
        self.rows += 1


__all__ = ["Record"]
