"""The run record: one JSON line per event, on disk at once, so that an interrupted run has told what it did."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class RunRecord:
    """Writes rows to a file and keeps them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[Row] = []
        self._file = path.open("w", encoding="utf-8")

    def __call__(self, row: Row) -> None:
        """Add a row."""
        self.rows.append(row)
        self._file.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@contextmanager
def recording(path: Path) -> Iterator[RunRecord]:
    """A record that is closed whatever happens."""
    record = RunRecord(path)
    try:
        yield record
    finally:
        record.close()


def _finite(value: Any) -> Any:
    """JSON has no NaN: a figure that is none is written as null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
