"""The run record: one JSON line per event, on disk at once, so that an interrupted run has told what it did."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from niwaki.errors import BrokenFile
from niwaki.replacing import made, replacing, told

Row = dict[str, Any]


class RunRecord:
    """Writes rows to a file and keeps them. ``keep``: go on behind so many rows that the file has already."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        made(path.parent)
        self.rows: list[Row] = rows_of(path, keep) if keep else []
        if len(self.rows) < keep:
            raise BrokenFile(
                f"{path} has {len(self.rows)} rows of the {keep} that the checkpoint beside it counts on; remove that, "
                "and its method starts afresh"
            )
        self._path = path
        self._file = self._rewritten()

    def __call__(self, row: Row) -> None:
        """Add a row."""
        self.rows.append(row)
        with told(self._path):
            self._file.write(_line(row))
            self._file.flush()

    def to_disk(self) -> None:
        """Wait until all rows are there: a checkpoint that counts on them comes after."""
        with told(self._path):
            os.fsync(self._file.fileno())

    def back_to(self, count: int) -> None:
        """Forget all rows but the first so many."""
        if count < len(self.rows):
            del self.rows[count:]
            self._file.close()
            self._file = self._rewritten()

    def close(self) -> None:
        self._file.close()

    def _rewritten(self) -> TextIO:
        """The file with just these rows, whole at every moment; open to go on."""
        with replacing(self._path) as part:
            part.write_text("".join(map(_line, self.rows)), encoding="utf-8")
        return self._path.open("a", encoding="utf-8")


@contextmanager
def recording(path: Path) -> Iterator[RunRecord]:
    """A record that is closed whatever happens."""
    with closing(RunRecord(path)) as record:
        yield record


def rows_of(path: Path, first: int | None = None) -> list[Row]:
    """The rows of a record, or the ``first`` so many, whatever comes behind; one that was broken off is left out."""
    if not path.is_file():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    try:
        return [json.loads(line) for line in lines[:first]]
    except ValueError as trouble:
        raise BrokenFile(f"{path} is damaged ({trouble}); start afresh") from trouble


def _line(row: Row) -> str:
    return json.dumps(_finite(row), ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN: a figure that is none is written as null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
