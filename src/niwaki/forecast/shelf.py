"""Times of layers, kept on disk: the same layer on the same hardware and runtime is timed once."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from niwaki.errors import BrokenFile, CannotWrite, NotSaved
from niwaki.forecast.hardware import Place
from niwaki.graph.work import Convolution, Linear, Task
from niwaki.replacing import made, replacing

FORMAT, VERSION = "niwaki.layer-times", 1
CACHE = "NIWAKI_CACHE"


def folder() -> Path:
    """Where times are kept: ``NIWAKI_CACHE``, or ``niwaki`` in the user's folder for such files."""
    asked = os.environ.get(CACHE)
    if asked:
        return Path(asked).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "niwaki"


@contextmanager
def kept_in(where: Path) -> Iterator[None]:
    """Inside, times of layers are kept in this folder: none that were taken at another time are used."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = str(where)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = before


class Shelf:
    """The times of one place. ``path``: the file; None keeps nothing.

    Raises:
        BrokenFile: the file is there, and is not such a one; the message says what to do.
    """

    def __init__(self, place: Place, where: Path | None) -> None:
        self.place = place
        self.path = None if where is None else where / place.name
        self.times: dict[Task, float] = {}
        if self.path is not None and self.path.is_file():
            self.times = _read(self.path, place)

    def add(self, times: Mapping[Task, float]) -> None:
        """Keep these too, and write the file. If that cannot be, they are kept as long as the process lives."""
        self.times.update(times)
        if self.path is None:
            return
        try:
            self._write(self.path)
        except CannotWrite as trouble:
            told = f"times of layers are not kept for other runs. {trouble}"
            warnings.warn(told, NotSaved, stacklevel=2)

    def _write(self, path: Path) -> None:
        made(path.parent)
        rows = [{**_to_json(task), "ms": ms} for task, ms in self.times.items()]
        text = {"format": FORMAT, "version": VERSION, "place": self.place.to_json(), "times": rows}
        with replacing(path) as part:
            part.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


def _to_json(task: Task) -> dict[str, Any]:
    form = {"kind": type(task.form).__name__.lower(), **asdict(task.form)}
    return {"form": form, "made": task.made, "taken": task.taken, "source": task.source}


def _read(path: Path, place: Place) -> dict[Task, float]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (data["format"], data["version"], data["place"]) != (FORMAT, VERSION, place.to_json()):
            raise ValueError("it is of another release or place")
        return dict(_row(row) for row in data["times"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as trouble:
        raise BrokenFile(
            f"{path} does not hold times of layers ({trouble}); delete it, and they are taken again"
        ) from (trouble)


def _row(row: dict[str, Any]) -> tuple[Task, float]:
    form = dict(row["form"])
    kind = {"linear": Linear, "convolution": Convolution}[form.pop("kind")]
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in form.items()}
    widths = [row["made"], row["taken"], row["source"]]
    ms = row["ms"]
    if not all(type(n) is int and n > 0 for n in widths) or not isinstance(ms, float) or not ms > 0:
        raise ValueError(f"a row says {row!r:.100}")
    return Task(kind(**settings), *widths), ms


__all__ = ["CACHE", "Shelf", "folder", "kept_in"]
