"""Columns of text and labels out of a local file, whatever its form; nothing is interpreted yet."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, nearest, require_extra
from niwaki.text import files

EXTRA = "text"
_PARTS = {"tsv": "\t", "csv": ","}
_SIGNS = {";": "';'", "\t": "tabs", ",": "commas", "|": "'|'"}

_limiting = threading.Lock()


@dataclass(frozen=True, eq=False)
class Sheet:
    """The columns of a file, all of one length.

    Attributes:
        path: of the file. columns: what it holds, by column. lines: where in the file each row begins (counted from 1).
        classes: names of classes that the file itself gives, by column.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    classes: Mapping[str, tuple[str, ...]]

    def column(self, name: str) -> Sequence[Any]:
        """The column of that name.

        Raises:
            BadInput: there is none; the nearest is named, and all that there are.
        """
        if name not in self.columns:
            meant = same_but_for_case(name, self.columns)
            hint = f"; did you mean {meant!r}?" if meant else nearest(name, self.columns) or "."
            raise BadInput(f"{self.path} has no column {name!r}{hint} It has: {', '.join(self.columns)}.")
        return self.columns[name]

    def place(self, row: int) -> str:
        """Where the row of that index stands, for errors."""
        return f"{self.path}, line {self.lines[row]}"


def read(path: Path, *, header: Sequence[str] | None = None, split: str | None = None) -> Sheet:
    """Read a file of rows, or a folder that `datasets.Dataset.save_to_disk` wrote.

    Args:
        path: ends in .tsv (fields between tabs, no quotes, as GLUE has it), .csv (quotes as usual), .jsonl (an object a
            line) or .parquet; .gz, .xz or .bz2 may follow.
        header: names of the columns of a .tsv or .csv whose first line is a row already.
        split: which part, of a folder with several.

    Raises:
        BadInput: it is not there, has no rows, or a row does not fit. BrokenFile: it cannot be unpacked.
        MissingExtra: it needs pyarrow or datasets, which are not installed.
    """
    if path.is_dir():
        return _filled(_saved(path, split))
    reader = READERS.get(files.form(path))
    if reader is None:
        known = ", ".join(f".{name}" for name in READERS)
        raise BadInput(f"{path} is of no known form. Known: {known}, with .gz, .xz or .bz2 or without; or a folder.")
    if header is not None and reader not in (_tsv, _csv):
        raise BadInput(f"{path} names its columns itself; leave the header out.")
    return _filled(reader(path, header))


def _filled(sheet: Sheet) -> Sheet:
    if not sheet.lines:
        raise BadInput(f"{sheet.path} is empty: it has no rows. Is it whole?")
    return sheet


def _tsv(path: Path, header: Sequence[str] | None) -> Sheet:
    # Not splitlines: that also breaks at signs that may stand inside a sentence.
    lines = [line.rstrip("\r") for line in files.text(path).split("\n")]
    return _rows(path, [(n, line.split("\t")) for n, line in enumerate(lines, start=1) if line], header)


def _csv(path: Path, header: Sequence[str] | None) -> Sheet:
    text = files.text(path)
    heading = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        with _fields_up_to(len(text)):
            for fields in reader:
                if fields:
                    rows.append((line, fields))
                line = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(
            f"{path}, line {line}: {error}. A field with quotes or commas stands in double quotes."
            f"{_parted(path, heading)}"
        ) from error
    return _rows(path, rows, header)


@contextmanager
def _fields_up_to(length: int) -> Iterator[None]:
    """Let fields of a csv be so long, as whole documents are. The limit is the process's: it is put back, and threads
    wait for each other, or one would read under what another has put back."""
    with _limiting:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, length))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _rows(path: Path, rows: list[tuple[int, list[str]]], header: Sequence[str] | None) -> Sheet:
    if header is None and rows:
        header, rows = rows[0][1], rows[1:]
    names = list(header or ())
    parted = _parted(path, names[0]) if len(names) == 1 else ""
    if parted:
        raise BadInput(f"{path} has the one column {names[0]!r}.{parted}")
    if len(set(names)) < len(names):
        raise BadInput(f"{path} has two columns of one name: {', '.join(names)}. Rename one.")
    for line, fields in rows:
        if len(fields) != len(names):
            raise BadInput(
                f"{path}, line {line}: {len(fields)} fields, where there are {len(names)} columns "
                f"({', '.join(names)}). A field must not hold what parts the fields; header=… names the columns of a "
                f"file without them.{_parted(path, fields[0], len(names)) if len(fields) == 1 else ''}"
            )
    columns = zip(*(fields for _, fields in rows), strict=True) if rows else [()] * len(names)
    return Sheet(path, dict(zip(names, columns, strict=True)), [line for line, _ in rows], {})


def _parted(path: Path, line: str, fields: int | None = None) -> str:
    """A question, where a line that should have several fields (so many) has another sign than its form has between
    them."""
    if _PARTS[files.form(path)] in line:
        return ""
    counts = {told: line.count(sign) for sign, told in _SIGNS.items()}
    sign = next((told for told, n in counts.items() if n and n + 1 == (fields or n + 1)), "")
    between = " and ".join(f"{_SIGNS[mark]} in a .{name}" for name, mark in _PARTS.items())
    return f" Is it parted by {sign}? Fields stand between {between}." if sign else ""


def same_but_for_case(name: str, known: Iterable[str]) -> str | None:
    """The known name that differs in its case alone."""
    return next((each for each in known if each.strip().casefold() == name.strip().casefold()), None)


def _jsonl(path: Path, header: Sequence[str] | None) -> Sheet:
    found: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(files.text(path).split("\n"), start=1):
        if line.strip():
            found.append((number, _object(path, number, line)))
    names = list(found[0][1]) if found else []
    for number, row in found:
        missing = [name for name in names if name not in row]
        if missing:
            raise BadInput(f"{path}, line {number}: no {missing[0]!r}, which the first object has. Write it out.")
    return Sheet(path, {name: [row[name] for _, row in found] for name in names}, [n for n, _ in found], {})


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}, line {number}: no JSON ({error}). Each line is one object.") from error
    if not isinstance(row, dict):
        raise BadInput(f"{path}, line {number}: {type(row).__name__}, where each line is one object.")
    return row


def _parquet(path: Path, header: Sequence[str] | None) -> Sheet:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise require_extra("pyarrow", EXTRA) from None
    data = files.content(path)
    try:
        found = parquet.read_table(pyarrow.BufferReader(data)).to_pydict()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{path} is no readable parquet file ({error}); copy it again.") from error
    return _counted(path, found, {})


def _saved(path: Path, split: str | None) -> Sheet:
    try:
        import datasets
    except ImportError:
        raise require_extra("datasets", EXTRA) from None
    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} is no folder that datasets has saved ({error}); name one, or a file.") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            asked = "a part must be named" if split is None else f"there is no part {split!r}"
            splits, folders = (" or ".join(map(str, each)) for each in (map(repr, found), map(path.joinpath, found)))
            raise BadInput(f"{path} has several parts, and {asked}: split={splits}, or its folder {folders}.")
        found = found[split]
    features = found.features
    names = {n: tuple(f.names) for n, f in features.items() if isinstance(f, datasets.ClassLabel)}
    return _counted(path, found.to_dict(), names)


def _counted(path: Path, columns: Mapping[str, Sequence[Any]], classes: Mapping[str, tuple[str, ...]]) -> Sheet:
    """Forms without lines: the rows are counted from 1."""
    length = len(next(iter(columns.values()), ()))
    return Sheet(path, dict(columns), range(1, length + 1), classes)


READERS: dict[str, Callable[[Path, Sequence[str] | None], Sheet]] = {
    "tsv": _tsv,
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}

__all__ = ["EXTRA", "READERS", "Sheet", "read", "same_but_for_case"]
