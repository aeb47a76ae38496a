"""A task of the user's own, as a recipe writes it: where the files are, what the classes are, how it is measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput, unknown_key
from niwaki.place import DATA
from niwaki.text.tables import USUAL_LABEL
from niwaki.text.tasks import ROOM, Task, task

PARTS = ("train", "dev", "test")
KEYS = (*PARTS, "classes", "metrics", "reported", "texts", "label", "header", "name")


def task_of(given: str | Mapping[str, Any] | Task) -> Task:
    """The task of that name, or one that is told in full::

        {train: reviews.csv, dev: more.csv, classes: [bad, good], texts: body, label: verdict}

    Args:
        given: ``train``, ``dev`` and ``test`` are files or saved folders (one, or several), looked for in the current
            directory, in ``NIWAKI_DATA`` and in its folder text. ``classes``: their names, in the order of their
            numbers; none for scores. ``metrics``: by default accuracy, of scores the correlation of Pearson.
            ``reported``: the part that figures are of; by default dev if there is one, or else test. ``texts``,
            ``label``: columns, as `niwaki.text.tables.read` takes them. ``header``: the names of all columns, of files
            without a heading (.tsv or .csv, all of the same columns). ``name``: for messages; by default that of the
            training file.

    Raises:
        BadInput: no such task, key, file or measure, or something is lacking.
    """
    if isinstance(given, Task):
        return given
    if not isinstance(given, Mapping):
        return task(given)
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in KEYS:
            raise unknown_key("a task", str(key), KEYS)
    files = {part: tuple(_place(one) for one in _several(part, given[part])) for part in PARTS if part in given}
    if "train" not in files or len(files) < 2 or "classes" not in given:
        found = ", ".join(given) or "nothing"
        raise BadInput(
            f"a task of your own has train, dev or test, and classes (their names; [] for scores); found {found}. "
            "Write {train: a.csv, dev: b.csv, classes: [bad, good]}"
        )
    classes = _classes(given["classes"])
    return Task(
        str(given.get("name", Path(files["train"][0]).name.partition(".")[0])),
        files,
        classes,
        tuple(_several("metrics", given.get("metrics", "accuracy" if classes else "pearson"))),
        str(given.get("reported", "dev" if "dev" in files else "test")),
        tuple(_several("texts", given["texts"])) if "texts" in given else None,
        str(given.get("label", USUAL_LABEL)),
        tuple(_several("header", given["header"])) if "header" in given else None,
    )


def _several(key: str, told: Any) -> Sequence[str]:
    many = [told] if isinstance(told, str) else told
    if not isinstance(many, (list, tuple)) or not all(isinstance(one, str) for one in many):
        raise BadInput(f"a task's {key} must be a name or a list of names, not {told!r}")
    return many


def _classes(told: Any) -> tuple[str, ...]:
    if not isinstance(told, (list, tuple)) or not all(isinstance(one, (str, int)) for one in told):
        raise BadInput(f"a task's classes must be a list of names ([] for scores), not {told!r}")
    if any(isinstance(one, bool) for one in told):
        raise BadInput(f"a task's classes are {told!r}: YAML reads no and yes as false and true; put them in quotes")
    return tuple(map(str, told))


def _place(name: str) -> str:
    root = Path(os.environ.get(DATA) or ".").expanduser()
    places = dict.fromkeys((Path(name).expanduser(), root / name, root / ROOM / name))
    for place in places:
        if place.exists():
            return str(place.resolve())
    raise BadInput(f"There is no file {' nor '.join(map(str, places))}; name it, or put it there.")


__all__ = ["KEYS", "PARTS", "task_of"]
