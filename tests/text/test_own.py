"""Tasks of the user's own, told in a recipe: files in any form, found in one of three places, in full or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.text.own import task_of
from niwaki.text.tasks import TASKS

ROWS = [("a fine film", "good"), ("a dull plot", "bad"), ("he liked it", "good")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NIWAKI_DATA", raising=False)
    lines = ["body,verdict", *(",".join(row) for row in ROWS)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    told = [json.dumps({"body": text, "verdict": verdict}) for text, verdict in ROWS[:2]]
    (tmp_path / "more.jsonl").write_text("\n".join(told) + "\n")
    return tmp_path


OWN: dict[str, Any] = {
    "train": ["train.csv", "more.jsonl"],
    "dev": "more.jsonl",
    "classes": ["bad", "good"],
    "texts": "body",
    "label": "verdict",
}


def test_a_task_told_in_full_reads_its_files_without_a_data_folder(here: Path) -> None:
    own = task_of(OWN)
    assert (own.name, own.metrics, own.reported) == ("train", ("accuracy",), "dev")
    train, dev = own.read("train"), own.read("dev")
    assert train.texts == tuple(text for text, _ in [*ROWS, *ROWS[:2]])
    assert train.labels == (1, 0, 1, 1, 0)
    assert dev.labels == (1, 0)
    assert train.classes == ("bad", "good")


def test_files_are_looked_for_below_the_data_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = here / "data"
    (data / "text").mkdir(parents=True)
    (here / "train.csv").rename(data / "train.csv")
    (here / "more.jsonl").rename(data / "text" / "more.jsonl")
    monkeypatch.setenv("NIWAKI_DATA", str(data))
    assert len(task_of(OWN).read("train")) == 5


def test_scores_are_measured_by_a_correlation(here: Path) -> None:
    (here / "scores.tsv").write_text("text\tlabel\na film\t1.5\na plot\t-2\n")
    own = task_of({"train": "scores.tsv", "test": "scores.tsv", "classes": [], "name": "mine"})
    assert (own.name, own.metrics, own.reported) == ("mine", ("pearson",), "test")
    assert own.read("test").labels == (1.5, -2.0)


def test_files_without_a_heading(here: Path) -> None:
    """As the files of CoLA come."""
    (here / "raw.tsv").write_text("gj04\t1\t\tIt is fine.\nbc01\t0\t*\tIt fine is.\n")
    columns = ["source", "label", "mark", "sentence"]
    own = task_of({"train": "raw.tsv", "dev": "raw.tsv", "classes": ["bad", "good"], "header": columns})
    assert own.read("train").texts == ("It is fine.", "It fine is.")
    assert own.read("dev").labels == (1, 0)


def test_names_and_tasks_are_themselves() -> None:
    assert task_of("sst2") is TASKS["sst2"]
    assert task_of(TASKS["rte"]) is TASKS["rte"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dev": None}, "train, dev or test, and classes"),
        ({"classes": None}, r"found train, dev, texts, label\. Write"),
        ({"labels": "verdict"}, "a task has no 'labels'; did you mean 'label'"),
        ({"dev": "less.csv"}, r"There is no file less\.csv nor "),
        ({"metrics": ["acuracy"]}, "metrics must be some of"),
        ({"reported": "test"}, "has no part 'test'"),
        ({"header": [1, 2]}, r"a task's header must be a name or a list of names, not \[1, 2\]"),
        ({"classes": [False, True]}, "YAML reads no and yes as false and true"),
        ({"classes": 2}, r"classes must be a list of names \(\[\] for scores\), not 2"),
        ({"classes": "no way"}, "classes must be a list of names"),
        ({"train": 5}, "a task's train must be a name or a list of names, not 5"),
        ({"classes": [], "metrics": "accuracy"}, "train: scores cannot be measured by 'accuracy'; known: pearson"),
        ({"classes": ["bad", "so so", "good"], "metrics": "f1"}, "train: 3 classes cannot be measured by 'f1'"),
        ({"classes": ["bad"]}, "train has the one class 'bad'"),
        ({"metrics": ["f1", "pearson"]}, "train: 2 classes cannot be measured by 'pearson'"),
    ],
)
def test_what_is_lacking_is_told(here: Path, change: dict[str, Any], message: str) -> None:
    told = {key: value for key, value in {**OWN, **change}.items() if value is not None}
    with pytest.raises(BadInput, match=message):
        task_of(told)
