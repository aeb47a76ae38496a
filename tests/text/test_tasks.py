"""Tasks by name: what they say, where their files are found, and what real files hold where they are there."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from niwaki.errors import BadInput
from niwaki.text.tasks import TASKS, Task, task, xnli
from tests.vision.real import real

NAMES = ("sst2", "mrpc", "rte", "cola", "sick", "sick-r", "xnli", "nli", "chnsenticorp")

# Rows of each part, and of each class of the part that is reported (GLUE; the papers; counted in the files).
COUNTS = {
    "sst2": ({"train": 67_349, "dev": 872, "test": 1_821}, (428, 444)),
    "mrpc": ({"train": 4_076, "test": 1_725}, (578, 1_147)),
    "rte": ({"train": 2_490, "dev": 277}, (146, 131)),
    "cola": ({"train": 8_551, "dev": 1_043}, (322, 721)),
    "sick": ({"train": 4_439, "dev": 495, "test": 4_906}, (1_404, 2_790, 712)),
    "sick-r": ({"train": 4_439, "dev": 495, "test": 4_906}, ()),
    "xnli": ({"dev": 2_490, "test": 5_010}, (1_670, 1_670, 1_670)),
    "xnli.de": ({"dev": 2_490, "test": 5_010}, (1_670, 1_670, 1_670)),
    "nli": ({"train": 4_439 + 2_490, "dev": 495, "test": 5_010}, (1_670, 1_670, 1_670)),
    "chnsenticorp": ({"train": 6_212, "test": 1_553}, None),
}


def test_these_are_all() -> None:
    assert tuple(TASKS) == NAMES
    assert all(task(name) is TASKS[name] for name in NAMES)
    assert task("xnli.de") == xnli("de")


def test_the_manual_names_the_classes_as_the_code_does() -> None:
    text = (Path(__file__).parents[2] / "docs" / "text.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {row[0].split("`")[1]: row[2].split(", ") for row in rows if row[0].split("`")[1] in TASKS}
    assert tuple(told) == NAMES
    for name, classes in told.items():
        assert tuple(classes) == (TASKS[name].classes or ("scores from 1 to 5",))


@pytest.mark.parametrize("name", COUNTS)
def test_the_real_files_are_whole(name: str) -> None:
    root = real("text")
    parts, classes = COUNTS[name]
    job = task(name)
    tables = {part: job.read(part, root) for part in job.files if part != "train" or name != "sst2"}
    assert {part: len(table) for part, table in tables.items()} == {p: n for p, n in parts.items() if p in tables}
    reported = tables[job.reported]
    assert reported.classes == job.classes
    assert (reported.pairs is None) == (name in ("sst2", "cola", "chnsenticorp"))
    if classes:
        assert tuple(reported.labels.count(k) for k in range(len(job.classes))) == classes
    if not job.classes:
        assert 1 <= min(reported.labels) < max(reported.labels) <= 5


@pytest.mark.parametrize("name", ["en/x.dev.tsv", "en/x.dev.csv.gz", "en/x.dev.jsonl", "en/x.dev.tsv.xz"])
def test_a_task_of_ones_own_and_any_form(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    path = tmp_path / "text" / name
    path.parent.mkdir(parents=True)
    rows = {".tsv": "text\tgrade\na\tlow\n", ".csv": "text,grade\na,low\n", ".jsonl": '{"text": "a", "grade": "low"}\n'}
    data = next(text for form, text in rows.items() if form in name).encode()
    path.write_bytes(lzma.compress(data) if name.endswith("xz") else gzip.compress(data) if ".gz" in name else data)
    monkeypatch.setenv("NIWAKI_DATA", str(tmp_path))
    own = Task("own", {"dev": ("en/x.dev",)}, ("high", "low"), label="grade")
    assert own.read("dev").labels == (1,)
    assert own == Task("own", {"dev": ("en/x.dev",)}, ("high", "low"), label="grade")
    assert hash(own)


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="No task is called 'sst'; did you mean 'sst2'\\? Known: sst2, mrpc"):
        task("sst")
    with pytest.raises(BadInput, match=r"mrpc has no part 'dev'. It has: train, test."):
        task("mrpc").read("dev", tmp_path)
    with pytest.raises(BadInput, match=f"There is no en/rte.dev in {tmp_path}; put en/rte.dev.tsv there"):
        task("rte").read("dev", tmp_path)
    with pytest.raises(BadInput, match="own: metrics must be some of accuracy, f1, matthews, pearson, not"):
        Task("own", {"dev": ("x",)}, (), ("acuracy",))
    with pytest.raises(BadInput, match=r"own has no part 'dev'. It has: test."):
        Task("own", {"test": ("x",)}, ("a", "b"))
    for classes, metric, said in (
        (("a", "b", "c"), "f1", "own: 3 classes cannot be measured by 'f1'; known: accuracy, matthews"),
        ((), "accuracy", "own: scores cannot be measured by 'accuracy'; known: pearson"),
        (("a",), "accuracy", "own has the one class 'a'"),
        (("a", "b", "a"), "accuracy", "own has two classes of the name 'a': a, b, a"),
    ):
        with pytest.raises(BadInput, match=said):
            Task("own", {"dev": ("x",)}, classes, (metric,))
    monkeypatch.delenv("NIWAKI_DATA", raising=False)
    with pytest.raises(BadInput, match="NIWAKI_DATA is not set"):
        task("rte").read("dev")
