"""Labelled texts as a frozen value, and how the columns of a file become one."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from niwaki.errors import BadInput, nearest
from niwaki.text import sheets
from niwaki.text.labels import labels_of, require_classes
from niwaki.text.sheets import Sheet, same_but_for_case

logger = logging.getLogger("niwaki")

USUAL_TEXTS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("sentence",), ("text",))
USUAL_LABEL = "label"


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
    labels, found = labels_of(sheet, label, known)
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


def _width(table: Table) -> str:
    return "one text" if table.pairs is None else "two texts"


__all__ = ["USUAL_LABEL", "USUAL_TEXTS", "Table", "read"]
