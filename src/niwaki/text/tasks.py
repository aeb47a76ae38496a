"""Tasks by name: where their parts lie, what their columns and classes are, and how they are measured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

from niwaki.errors import BadInput, nearest
from niwaki.place import folder
from niwaki.text import files, sheets, tables
from niwaki.text.labels import require_classes
from niwaki.text.metrics import METRICS, require
from niwaki.text.tables import USUAL_LABEL, Table

ROOM = "text"  # the folder inside NIWAKI_DATA


@dataclass(frozen=True)
class Task:
    """A task; one of your own is one such value.

    Attributes:
        name: for messages.
        files: for each part (train, dev, test) its files, without the ending that says their form: ``en/sst2.train``
            finds en/sst2.train.tsv.xz. They lie below the folder text of ``NIWAKI_DATA``, if they do not say themselves
            where they are, from the root on and with their ending.
        classes: their names, in the order of their numbers; none for scores.
        metrics: names of `niwaki.text.metrics.METRICS`; the first is the one that counts.
        reported: the part on which figures are reported.
        texts: the column of the texts, or both of pairs; by default the usual ones.
        label: the column of the labels.
        header: names of the columns, where the files have no heading.

    Raises:
        BadInput: no such measure, or one that cannot tell of these classes; one class alone, or two of one name;
            nothing is reported.
    """

    name: str
    files: Mapping[str, tuple[str, ...]] = field(hash=False)
    classes: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)
    reported: str = "dev"
    texts: tuple[str, ...] | None = None
    label: str = USUAL_LABEL
    header: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise BadInput(f"{self.name}: metrics must be some of {', '.join(METRICS)}, not {self.metrics!r}.")
        require_classes(self.name, self.classes)
        for name in self.metrics:
            self.require(name)
        self._files(self.reported)

    def require(self, metric: str) -> None:
        """See that the task can be measured so.

        Raises:
            BadInput: no such measure, or it is of other labels.
        """
        try:
            require(metric, len(self.classes))
        except BadInput as trouble:
            raise BadInput(f"{self.name}: {trouble}") from None

    def read(self, part: str, root: Path | None = None) -> Table:
        """The rows of a part, files one after the other.

        Args:
            part: train, dev or test, as far as the task has them. root: where the files lie; by default, the folder
                text of ``NIWAKI_DATA``.

        Raises:
            BadInput: no such part or file, or what `niwaki.text.tables.read` refuses.
        """
        stems = self._files(part)
        if root is None:
            root = Path() if all(map(os.path.isabs, stems)) else folder(ROOM)
        return reduce(add, (self._read(found(root, stem)) for stem in stems))

    def _read(self, path: Path) -> Table:
        return tables.read(path, texts=self.texts, label=self.label, classes=self.classes, header=self.header)

    def _files(self, part: str) -> tuple[str, ...]:
        if part not in self.files:
            hint = nearest(part, self.files) or "."
            raise BadInput(f"{self.name} has no part {part!r}{hint} It has: {', '.join(self.files)}.")
        return self.files[part]


def found(place: Path, stem: str) -> Path:
    """The file or saved folder of that name, or the file in whichever form it is there.

    Raises:
        BadInput: there is none.
    """
    if (place / stem).exists():
        return place / stem
    for form in sheets.READERS:
        for packed in ("", *files.UNPACK):
            path = place / f"{stem}.{form}{packed}"
            if path.is_file():
                return path
    raise BadInput(f"There is no {stem} in {place}; put {stem}.tsv there, or .csv, .jsonl or .parquet.")


def task(name: str) -> Task:
    """The task of that name; ``xnli.de`` is XNLI in German, ``xnli`` in English.

    Raises:
        BadInput: there is none; the nearest is named.
    """
    if name in TASKS:
        return TASKS[name]
    if name.startswith("xnli.") and name[5:].isalpha():
        return xnli(name[5:])
    raise BadInput(f"No task is called {name!r}{nearest(name, TASKS) or '.'} Known: {', '.join(TASKS)}, xnli.LANGUAGE.")


def xnli(language: str) -> Task:
    """XNLI in one language, such as ``en``, ``de`` or ``zh``. It has no training part of its own."""
    parts = {part: (f"xnli/{part}.{language}",) for part in ("dev", "test")}
    return Task(f"xnli.{language}", parts, _THREE, reported="test")


def _parts(stem: str, *parts: str) -> dict[str, tuple[str, ...]]:
    return {part: (f"{stem}.{part}",) for part in parts}


_THREE = ("entailment", "neutral", "contradiction")
_SICK = {"train": ("en/sick.train",), "dev": ("en/sick.trial",), "test": ("en/sick.test",)}
_FEELINGS = ("negative", "positive")

# What GLUE reports of each, in its order of classes. MRPC has the paper's own test part, which is labelled.
TASKS: dict[str, Task] = {
    known.name: known
    for known in (
        Task("sst2", _parts("en/sst2", "train", "dev", "test"), _FEELINGS),
        Task("mrpc", _parts("en/mrpc", "train", "test"), ("not_equivalent", "equivalent"), ("f1", "accuracy"), "test"),
        Task("rte", _parts("en/rte", "train", "dev"), ("entailment", "not_entailment")),
        Task("cola", _parts("en/cola", "train", "dev"), ("unacceptable", "acceptable"), ("matthews", "accuracy")),
        Task("sick", _SICK, _THREE, reported="test"),
        Task("sick-r", _SICK, (), ("pearson",), "test", label="relatedness"),
        Task("xnli", xnli("en").files, _THREE, reported="test"),
        # The training part of MNLI, which XNLI goes with, is not always to be had: this is what stands in for it.
        Task(
            "nli",
            {"train": (*_SICK["train"], "xnli/dev.en"), "dev": _SICK["dev"], "test": ("xnli/test.en",)},
            _THREE,
            reported="test",
        ),
        Task("chnsenticorp", _parts("zh/chnsenticorp_hotel", "train", "test"), _FEELINGS, reported="test"),
    )
}

__all__ = ["TASKS", "Task", "found", "task", "xnli"]
