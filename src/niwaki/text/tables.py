"""Labelled texts as a frozen value, and how the columns of a file become one."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Number
from pathlib import Path
from typing import Any

import torch

from niwaki.errors import BadInput, nearest
from niwaki.text import sheets
from niwaki.text.sheets import Sheet, same_but_for_case

logger = logging.getLogger("niwaki")

USUAL_TEXTS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("sentence",), ("text",))
USUAL_LABEL = "label"
_STRANGE = 0.1  # share of labels up to which what is no number, among numbers, is a slip and no name
_MANY = 10_000  # classes that numbers alone do not stand for: they may be numbers of rows, or dates


@dataclass(frozen=True)
class Table:
    """Texts, or pairs of texts, with what is known of them.

    Attributes:
        texts: one for each row. pairs: the second texts, one for each row; None where there is but one.
        labels: class numbers from 0, or scores (floats) where there are no classes.
        classes: the names of the classes; none means that labels are scores.

    Raises:
        BadInput: they are not of one length, a class number is out of range, there is but one class, or two of one
            name.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[int, ...] | tuple[float, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.texts), len(self.labels), *(() if self.pairs is None else (len(self.pairs),))}
        if len(lengths) > 1:
            raise BadInput(f"texts, pairs and labels must be of one length, not {sorted(lengths)}.")
        require_classes("A table", self.classes)
        if self.classes and self.labels and not 0 <= min(self.labels) <= max(self.labels) < len(self.classes):
            found = f"{min(self.labels)} to {max(self.labels)}"
            raise BadInput(f"{len(self.classes)} classes have numbers 0 to {len(self.classes) - 1}; found {found}.")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def scored(self) -> bool:
        """Are the labels scores, and not classes?"""
        return not self.classes

    def rows(self, chosen: Sequence[int]) -> Table:
        """These rows, in this order."""
        return replace(
            self,
            texts=tuple(self.texts[k] for k in chosen),
            pairs=None if self.pairs is None else tuple(self.pairs[k] for k in chosen),
            labels=tuple(self.labels[k] for k in chosen),
        )

    def parted(self, share: float, seed: int = 0) -> tuple[Table, Table]:
        """Two tables without a common row: a random share of the rows (0 to 1, at least one row), and the others.
        The second is for choosing settings, so that the part that is reported is not looked at.

        Raises:
            BadInput: the share leaves one of the two empty.
        """
        first = round(share * len(self))
        if not 0 < first < len(self):
            raise BadInput(f"A share of {share} of {len(self)} rows is {first}, which leaves one part empty.")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed)).tolist()
        return self.rows(sorted(order[:first])), self.rows(sorted(order[first:]))

    def __add__(self, other: Table) -> Table:
        """The rows of both, one after the other.

        Raises:
            BadInput: they have other classes, or only one has pairs.
        """
        if self.classes != other.classes or (self.pairs is None) != (other.pairs is None):
            raise BadInput(
                f"Tables that are joined have the same classes and as many texts a row: {self.classes} with "
                f"{_width(self)}, {other.classes} with {_width(other)}."
            )
        pairs = None if self.pairs is None or other.pairs is None else self.pairs + other.pairs
        return Table(self.texts + other.texts, pairs, (*self.labels, *other.labels), self.classes)


def require_classes(what: str, classes: Sequence[str]) -> None:
    """See that these can be told apart: none (scores), or at least two, each of another name.

    Args:
        what: has them, for errors.

    Raises:
        BadInput: one alone, or two of one name.
    """
    if len(classes) == 1:
        raise BadInput(
            f"{what} has the one class {classes[0]!r}, where there is nothing to tell apart. Name all classes, those "
            "too that are not in these rows; or none, (), for scores."
        )
    twice = next((name for k, name in enumerate(classes) if name in classes[:k]), None)
    if twice is not None:
        raise BadInput(f"{what} has two classes of the name {twice!r}: {', '.join(classes)}. Name each once.")


def read(
    path: str | os.PathLike[str],
    *,
    texts: str | Sequence[str] | None = None,
    label: str = USUAL_LABEL,
    classes: Sequence[str] | None = None,
    header: Sequence[str] | None = None,
    split: str | None = None,
) -> Table:
    """Read a local table of labelled texts.

    Args:
        path: a .tsv (no quotes), .csv, .jsonl or .parquet, also .gz, .xz or .bz2; or a folder that
            `datasets.Dataset.save_to_disk` wrote.
        texts: the column of the texts, or both columns of pairs; by default the first that are there of sentence1 and
            sentence2, premise and hypothesis, sentence, text.
        label: the column of the labels: class names, whole numbers from 0, or scores. Names may look like numbers: a
            column in which every label is a name has names, any other has numbers; 1.0 is then class 1.
        classes: the names of the classes, in the order of their numbers; none, ``()``, for scores. A saved folder whose
            own classes have these names (but for case) in another order is numbered anew. By default names are taken in
            alphabetical order, whole numbers are classes, and other numbers are scores. Those of another part of the
            same data are best given as ``classes=train.classes``: what a part does not have would shift the numbers of
            the others.
        header: names of the columns of a .tsv or .csv whose first line is a row already.
        split: which part of a saved folder.

    Raises:
        BadInput: no such file or column, one column as both texts, a row that does not fit or has no label (with its
            line), a label that is a list or the like, one that is no number where nearly all are, an unknown class, a
            folder whose classes have some of the names at other places, one class alone, an empty file, no UTF-8.
            BrokenFile: what is compressed cannot be unpacked. MissingExtra: the form needs an optional package.
    """
    sheet = sheets.read(Path(path), header=header, split=split)
    names = _text_columns(sheet, texts)
    columns = [_texts(sheet, name) for name in names]
    known = sheet.classes.get(label) if classes is None else tuple(classes)
    labels, found = _labels(sheet, label, known)
    require_classes(str(path), found)
    return Table(columns[0], columns[1] if len(columns) == 2 else None, labels, found)


def _text_columns(sheet: Sheet, asked: str | Sequence[str] | None) -> tuple[str, ...]:
    names = (asked,) if isinstance(asked, str) else tuple(asked or ())
    if len(names) > 2:
        raise BadInput(f"A row has one text or two, not {len(names)}: {', '.join(names)}.")
    if len(set(names)) < len(names):
        raise BadInput(f"texts names {names[0]!r} twice; of a pair name both columns, of single texts their one.")
    if names:
        return names
    for usual in USUAL_TEXTS:
        if all(name in sheet.columns for name in usual):
            return usual
    usual_names = "; ".join(" and ".join(usual) for usual in USUAL_TEXTS)
    raise BadInput(
        f"{sheet.path} has none of the usual columns of text ({usual_names}){_meant(sheet)} It has: "
        f"{', '.join(sheet.columns)}. Name one, or both of a pair, with texts=…"
    )


def _meant(sheet: Sheet) -> str:
    """Columns that are the usual ones but for their case, or come near one; else a full stop."""
    for usual in USUAL_TEXTS:
        found = [same_but_for_case(name, sheet.columns) for name in usual]
        if all(found):
            return f"; did you mean {' and '.join(map(repr, found))}?"
    singles = [usual[0] for usual in USUAL_TEXTS if len(usual) == 1]
    return next(filter(None, (nearest(name, sheet.columns) for name in singles)), ".")


def _texts(sheet: Sheet, name: str) -> tuple[str, ...]:
    column = sheet.column(name)
    for row, value in enumerate(column):
        if not isinstance(value, str):
            raise BadInput(f"{sheet.place(row)}: {name} is {value!r}, which is no text.")
    empty = [row for row, value in enumerate(column) if not value.strip()]
    if empty:
        logger.warning(
            "%s: %s is empty in %d of %d rows, first in line %d; they are kept",
            sheet.path, name, len(empty), len(column), sheet.lines[empty[0]],
        )  # fmt: skip
    return tuple(column)


def _labels(
    sheet: Sheet, name: str, classes: tuple[str, ...] | None
) -> tuple[tuple[int, ...] | tuple[float, ...], tuple[str, ...]]:
    """The labels, and the names of their classes: none for scores."""
    column = [_plain(value) for value in sheet.column(name)]
    _require_single(sheet, name, column)
    if classes is None:
        classes = _guessed(sheet, name, column)
    if not classes:
        return tuple(_score(sheet, row, name, value) for row, value in enumerate(column)), ()
    order = _order(f"{sheet.path}: {name}", sheet.classes.get(name, classes), classes)
    labels = _numbered(sheet, name, column, classes)
    return labels if order is None else tuple(order[label] for label in labels), classes


def _order(what: str, own: Sequence[str], asked: Sequence[str]) -> tuple[int, ...] | None:
    """The number that was asked for, of each class that a file numbers itself; nothing, where its numbers hold.

    Args:
        what: has the classes, for messages. own: the file's.

    Raises:
        BadInput: some of the names are asked for at another place, and others are not known.
    """
    mine, theirs = _folded(own), _folded(asked)
    if mine == theirs:
        return None
    if sorted(mine) == sorted(theirs):
        return tuple(map(theirs.index, mine))
    both = f"{what} has the classes {', '.join(own)}, and {', '.join(asked)} are asked for"
    counted = mine == tuple(map(str, range(len(mine))))  # the file's numbers in place of names
    if not counted and any(theirs.index(text) != k for k, text in enumerate(mine) if text in theirs):
        raise BadInput(
            f"{both}, some of them at another place. Name all as the file does, in any order; or rename the file's "
            "(features of datasets)."
        )
    logger.warning("%s; its numbers are taken for these, in this order", both)
    return None


def _folded(names: Sequence[str]) -> tuple[str, ...]:
    """Without their case, unless that is all that tells them apart."""
    folded = tuple(name.strip().casefold() for name in names)
    return folded if len(set(folded)) == len(folded) else tuple(names)


def _require_single(sheet: Sheet, name: str, column: list[Any]) -> None:
    """A list or a date has a text too, which would pass for the name of a class."""
    for row, value in enumerate(column):
        if value is not None and not isinstance(value, (str, Number)):
            raise BadInput(
                f"{sheet.place(row)}: {name} is {value!r} ({type(value).__name__}); a label is one text or one number. "
                "Write one a row."
            )


def _plain(value: Any) -> Any:
    """Texts without the space around them; bools as the numbers that they stand for."""
    return value.strip() if isinstance(value, str) else int(value) if isinstance(value, bool) else value


def _guessed(sheet: Sheet, name: str, column: list[Any]) -> tuple[str, ...]:
    """The classes of labels of which nothing is said."""
    _require_labelled(sheet, name, column)
    strange = [row for row, value in enumerate(column) if _number(value) is None]
    if strange:
        _require_names(sheet, name, column, strange)
        return tuple(sorted({str(value) for value in column}))
    if not all(_is_class(value) for value in column):
        return ()
    most = max(int(value) for value in column)
    if most >= _MANY:
        raise BadInput(f"{sheet.path}: {name} reaches {most}; for so many classes, name them; for scores, classes=().")
    return tuple(map(str, range(most + 1)))


def _require_labelled(sheet: Sheet, name: str, column: list[Any]) -> None:
    """What is missing is no class of its own. (In a column of names, the text nan may be one.)"""
    numbers = any(_number(value) is not None for value in column)
    for row, value in enumerate(column):
        if value is None or value == "" or (_is_nan(value) and (numbers or not isinstance(value, str))):
            raise BadInput(
                f"{sheet.place(row)}: {name} is {value!r}, so this row has no label. Write it, or take it out."
            )
    if all(_number(value) == -1 for value in column):
        raise BadInput(
            f"{sheet.path}: {name} is -1 in every row, as in parts whose labels are kept back; name a part with labels "
            "(or, if it is a score, classes=())."
        )


def _require_names(sheet: Sheet, name: str, column: list[Any], strange: list[int]) -> None:
    """See that labels of which these rows' are no numbers may be names. Among numbers, an infinity is none, nor is
    what few rows have."""
    slips = strange if len(strange) <= _STRANGE * len(column) else []
    if len(strange) < len(column):
        slips = slips or [row for row in strange if _is_infinite(column[row])]
    if slips:
        raise BadInput(
            f"{sheet.place(slips[0])}: {name} is {column[slips[0]]!r}, where {len(column) - len(strange)} of "
            f"{len(column)} labels are numbers. Write a number, or take the row out; if all are names, give classes=…"
        )


def _is_infinite(value: Any) -> bool:
    try:
        return math.isinf(float(value))
    except (TypeError, ValueError):
        return False
    except OverflowError:
        return True


def _is_nan(value: Any) -> bool:
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _is_class(value: Any) -> bool:
    """A whole number from 0, written as such: 3, and not 3.0."""
    return value.isascii() and value.isdigit() if isinstance(value, str) else isinstance(value, int) and value >= 0


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _score(sheet: Sheet, row: int, name: str, value: Any) -> float:
    number = _number(value)
    if number is None:
        raise BadInput(f"{sheet.place(row)}: {name} is {value!r}, which is no number; a score must be one.")
    return number


def _numbered(sheet: Sheet, name: str, column: list[Any], classes: tuple[str, ...]) -> tuple[int, ...]:
    """Classes by name, or by number. The whole column says which: a name may be a number, and not its own."""
    numbers = {text: number for number, text in enumerate(classes)}
    given, column = column, [value if str(value) in numbers else _whole(value) for value in column]
    named = [str(value) in numbers for value in column]
    counted = [_is_class(value) and int(value) < len(classes) for value in column]
    if all(named) and name not in sheet.classes:  # a file that names its classes holds their numbers
        found = tuple(numbers[str(value)] for value in column)
        if all(counted) and any(number != int(value) for number, value in zip(found, column, strict=True)):
            logger.warning(
                "%s: %s could be names or numbers of the classes %s, and is taken for names",
                sheet.path, name, ", ".join(classes),
            )  # fmt: skip
        return found
    if all(counted):
        return tuple(int(value) for value in column)
    row = (named if any(named) and not all(named) else counted).index(False)
    raise BadInput(
        f"{sheet.place(row)}: {name} is {given[row]!r}, which is no class. Known: {', '.join(classes)}; or, in every "
        f"row, their numbers 0 to {len(classes) - 1}."
    )


def _whole(value: Any) -> Any:
    """A whole number that is written with a point, as a column that once had gaps is, without it; else what it was."""
    if isinstance(value, int) or (isinstance(value, str) and not re.fullmatch(r"[0-9]+\.0+", value)):
        return value
    number = _number(value)
    return value if number is None or not number.is_integer() else int(number)


def _width(table: Table) -> str:
    return "one text" if table.pairs is None else "two texts"


__all__ = ["USUAL_LABEL", "USUAL_TEXTS", "Table", "read", "require_classes"]
