"""Labels as numbers: of classes by their names or their own numbers, or scores."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from numbers import Number
from typing import Any

from niwaki.errors import BadInput
from niwaki.text.sheets import Sheet

logger = logging.getLogger("niwaki")

_STRANGE = 0.1  # share of labels up to which what is no number, among numbers, is a slip and no name
_MANY = 10_000  # classes that numbers alone do not stand for: they may be numbers of rows, or dates


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


def labels_of(
    sheet: Sheet, name: str, classes: tuple[str, ...] | None
) -> tuple[tuple[int, ...] | tuple[float, ...], tuple[str, ...]]:
    """The labels, and the names of their classes: none for scores."""
    column = [_plain(value) for value in sheet.column(name)]
    _require_single(sheet, name, column)
    if classes is None:
        classes = _guessed(sheet, name, column)
    if not classes:
        return tuple(_score(sheet, row, name, value) for row, value in enumerate(column)), ()
    anew = order(f"{sheet.path}: {name}", sheet.classes.get(name, classes), classes)
    labels = _numbered(sheet, name, column, classes)
    return labels if anew is None else tuple(anew[label] for label in labels), classes


def order(what: str, own: Sequence[str], asked: Sequence[str]) -> tuple[int, ...] | None:
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


__all__ = ["labels_of", "order", "require_classes"]
