"""Tables of labelled texts: one content in every form gives one value; what does not fit is told with its place."""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib.util
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from niwaki.errors import BadInput, BrokenFile, MissingExtra
from niwaki.text.labels import labels_of
from niwaki.text.labels import order as order_of
from niwaki.text.sheets import Sheet
from niwaki.text.tables import Table, read

ROWS = [
    ("a fine film", "it was good", "yes"),
    ('"dull", he said', "bad, bad", "no"),
    ("zeilen\u2028trenner", "é", "no"),
]
NAMES = ("sentence1", "sentence2", "label")
EXPECTED = Table(tuple(r[0] for r in ROWS), tuple(r[1] for r in ROWS), (1, 0, 0), ("no", "yes"))


def tsv(path: Path) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in (NAMES, *ROWS)), encoding="utf-8")


def tsv_of_windows(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join("\t".join(row) for row in (NAMES, *ROWS)).encode())


def quoted(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows((NAMES, *ROWS))


def jsonl(path: Path) -> None:
    lines = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) for row in ROWS]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")


def parquet(path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    columns = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))
    parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "x.tsv": tsv,
    "windows.tsv": tsv_of_windows,
    "x.csv": quoted,
    "x.jsonl": jsonl,
    "x.parquet": parquet,
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_table(name: str, packed: str, tmp_path: Path) -> None:
    plain = tmp_path / name
    WRITERS[name](plain)
    path = tmp_path / f"{name}{packed}"
    path.write_bytes(PACKERS[packed](plain.read_bytes()))
    assert read(path) == EXPECTED


def saved(folder: Path) -> None:
    """The files that save_to_disk leaves, of the rows with classes. (Its writing needs more packages than reading.)"""
    import pyarrow

    folder.mkdir(parents=True)
    columns = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))
    data = pyarrow.table({**columns, "label": [1, 0, 0]})
    with pyarrow.OSFile(str(folder / "data.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, data.schema) as out:
        out.write_table(data)
    kinds = {name: {"dtype": "string", "_type": "Value"} for name in NAMES[:2]}
    kinds["label"] = {"names": ["no", "yes"], "_type": "ClassLabel"}  # type: ignore[dict-item]
    info = {"features": kinds, "citation": "", "description": "", "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    state = {f"_format_{name}": None for name in ("columns", "type")} | {"_format_kwargs": {}, "_split": None}
    state |= {"_data_files": [{"filename": "data.arrow"}], "_fingerprint": "0", "_output_all_columns": False}
    (folder / "state.json").write_text(json.dumps(state))


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    saved(tmp_path / "one")
    assert read(tmp_path / "one") == EXPECTED
    saved(tmp_path / "many" / "train")
    (tmp_path / "many" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert read(tmp_path / "many", split="train") == EXPECTED
    turned = read(tmp_path / "one", classes=("Yes", "No"))
    assert (turned.labels, turned.classes) == ((0, 1, 1), ("Yes", "No"))
    named = f"a part must be named: split='train', or its folder {tmp_path / 'many' / 'train'}"
    assert read(tmp_path / "many" / "train") == EXPECTED
    with pytest.raises(BadInput, match=named):
        read(tmp_path / "many")
    with pytest.raises(BadInput, match="there is no part 'dev': split='train'"):
        read(tmp_path / "many", split="dev")
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="no folder that datasets has saved"):
        read(tmp_path / "none")


@pytest.mark.parametrize(("name", "package"), [("x.parquet", "pyarrow"), ("folder", "datasets")])
def test_what_needs_a_package_names_the_extra(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not installed. .* 'niwaki\[text\]'"):
        read(tmp_path / name)


def test_damaged_parquet(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(BadInput, match="no readable parquet file"):
        read(tmp_path / "x.parquet")


def written(folder: Path, text: str, name: str = "x.tsv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


# Columns.


@pytest.mark.parametrize(
    ("names", "texts", "pairs"),
    [
        ("text label", "a", None),
        ("sentence label", "a", None),
        ("premise hypothesis label", "a", "b"),
        ("sentence1 sentence2 label", "a", "b"),
        ("text sentence label", "b", None),  # GLUE's word goes before
    ],
)
def test_the_usual_columns(names: str, texts: str, pairs: str | None, tmp_path: Path) -> None:
    columns = names.split()
    row = [*"ab"[: len(columns) - 1], "1"]
    found = read(written(tmp_path, "\t".join(columns) + "\n" + "\t".join(row) + "\n"))
    assert found.texts == (texts,)
    assert found.pairs == (None if pairs is None else (pairs,))


def test_columns_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "one\ttwo\tgrade\nx\ty\t1\n")
    assert read(path, texts="two", label="grade").texts == ("y",)
    assert read(path, texts=("two", "one"), label="grade").pairs == ("x",)
    with pytest.raises(BadInput, match=r"no column 'grad'; did you mean 'grade'\? It has: one, two, grade."):
        read(path, texts="one", label="grad")
    with pytest.raises(BadInput, match=r"no column 'label'. It has: one, two, grade."):
        read(path, texts="one")
    with pytest.raises(BadInput, match=r"none of the usual columns of text .* It has: one, two, grade. Name"):
        read(path, label="grade")
    with pytest.raises(BadInput, match="texts names 'two' twice"):
        read(path, texts=("two", "two"), label="grade")
    with pytest.raises(BadInput, match="one text or two, not 3"):
        read(path, texts=("one", "two", "grade"), label="grade")


def test_a_file_without_names(tmp_path: Path) -> None:
    path = written(tmp_path, "gj04\t1\t\tIt is fine.\ngj04\t0\t*\tIt fine is.\n")
    found = read(path, header=("source", "label", "mark", "sentence"))
    assert found.texts == ("It is fine.", "It fine is.")
    assert found.labels == (1, 0)
    with pytest.raises(BadInput, match="names its columns itself"):
        read(written(tmp_path, "{}", "x.jsonl"), header=("text",))


# Labels.


@pytest.mark.parametrize(
    ("said", "classes", "labels", "names"),
    [
        (["1", "0", "2"], None, (1, 0, 2), ("0", "1", "2")),
        (["no", "yes", "no"], None, (0, 1, 0), ("no", "yes")),
        (["2.5", "3", "0.25"], None, (2.5, 3.0, 0.25), ()),
        (["-1", "1", "0"], None, (-1.0, 1.0, 0.0), ()),
        (["1", "0", "2"], (), (1.0, 0.0, 2.0), ()),
        (["1", "0", "1"], ("a", "b"), (1, 0, 1), ("a", "b")),
        ([" b", "a ", "a"], ("a", "b"), (1, 0, 0), ("a", "b")),
        (["1", "2", "1"], ("2", "1"), (1, 0, 1), ("2", "1")),
        (["1", "2", "3"], ("1", "2", "3"), (0, 1, 2), ("1", "2", "3")),
        (["0", "1", "2"], ("1", "2", "3"), (0, 1, 2), ("1", "2", "3")),  # not all are names: the numbers are meant
        (["1.0", "0.0"], ("a", "b"), (1, 0), ("a", "b")),
        (["1.0", "2.0"], ("1", "2", "3"), (0, 1), ("1", "2", "3")),  # as 1 and 2 would be
        (["1.0", "0.0"], ("1.0", "0.0"), (0, 1), ("1.0", "0.0")),
        (["5 stars", "inf"], None, (0, 1), ("5 stars", "inf")),
        ([*"01234567", "x", "y"], None, tuple(range(10)), tuple("01234567xy")),  # too many for slips
    ],
)
def test_labels(
    said: list[str], classes: tuple[str, ...] | None, labels: tuple[float, ...], names: tuple[str, ...], tmp_path: Path
) -> None:
    path = written(tmp_path, "text\tlabel\n" + "".join(f"x\t{label}\n" for label in said))
    found = read(path, classes=classes)
    assert (found.labels, found.classes, found.scored) == (labels, names, not names)
    assert {type(label) for label in found.labels} == ({int} if names else {float})


def test_labels_that_may_be_names_or_numbers_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "text\tlabel\na\t1\nb\t2\n")
    assert read(path, classes=("1", "2", "3")).labels == (0, 1)
    assert "label could be names or numbers of the classes 1, 2, 3, and is taken for names" in caplog.text
    caplog.clear()
    assert read(path, classes=("0", "1", "2")).labels == (1, 2)
    assert not caplog.records


def test_labels_of_json(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": "x", "label": v}) + "\n" for v in (True, False))
    assert read(written(tmp_path, lines, "x.jsonl")).labels == (1, 0)
    lines = "".join(json.dumps({"text": "x", "label": v}) + "\n" for v in (1.5, 2))
    assert read(written(tmp_path, lines, "y.jsonl")).labels == (1.5, 2.0)


def test_whole_floats_are_numbers_of_classes_that_are_named(tmp_path: Path) -> None:
    """Pandas makes floats of whole numbers where one is missing, and leaves them floats."""
    lines = "".join(json.dumps({"text": "x", "label": v}) + "\n" for v in (1.0, 0.0, 1))
    path = written(tmp_path, lines, "x.jsonl")
    found = read(path, classes=("no", "yes"))
    assert found.labels == (1, 0, 1)
    assert {type(label) for label in found.labels} == {int}
    assert read(path).scored


def test_a_field_may_be_a_whole_document(tmp_path: Path) -> None:
    """The limit is the process's, and is as it was, after a file that does not fit too."""
    before, document = csv.field_size_limit(), "x" * 200_000
    assert len(document) > before
    assert read(written(tmp_path, f"text,label\n{document},0\nb,1\n", "x.csv")).texts == (document, "b")
    assert csv.field_size_limit() == before
    with pytest.raises(BadInput, match="unexpected end of data"):
        read(written(tmp_path, f'text,label\n"{document},0\nb,1\n', "y.csv"))
    assert csv.field_size_limit() == before


def test_a_name_may_be_nan(tmp_path: Path) -> None:
    path = written(tmp_path, "text\tlabel\na\tnan\nb\tpita\n")
    assert read(path).classes == ("nan", "pita")
    assert read(path, classes=("pita", "nan")).labels == (1, 0)


@pytest.mark.parametrize("sign", [",", "\t"])
def test_empty_lines_are_passed_over(sign: str, tmp_path: Path) -> None:
    lines = [f"text{sign}label", f"a{sign}no", "", f"b{sign}maybe", "", ""]
    for end in ("\n", "\r\n"):
        (tmp_path / "x").write_bytes(end.join(lines).encode())
        path = (tmp_path / "x").rename(tmp_path / ("x.csv" if sign == "," else "x.tsv"))
        assert read(path).texts == ("a", "b")
        with pytest.raises(BadInput, match="line 4: label is 'maybe', which"):
            read(path, classes=("no", "yes"))


def test_empty_texts_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "premise\thypothesis\tlabel\na\tb\t0\n \tb\t1\n\tb\t0\n")
    assert read(path).texts == ("a", " ", "")
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: premise is empty in 2 of 3 rows, first in line 3; they are kept"
    ]


# What does not fit.

REFUSED = {
    "a row short of fields": ("x.tsv", "text\tlabel\na\t0\nb\n", {}, "line 3: 1 fields, where there are 2 columns"),
    "a row with too many": ("x.tsv", "text\tlabel\na\tb\t0\n", {}, "line 2: 3 fields, where there are 2 columns"),
    "a short row of csv": ("x.csv", 'text,label\n"a\nb",0\nc\n', {}, "line 4: 1 fields, where there are 2"),
    "a quote left open": ("x.csv", 'text,label\na,0\n"b,1\n', {}, "line 3: unexpected end of data"),
    "an unknown class": (
        "x.tsv",
        "text\tlabel\na\tmaybe\n",
        {"classes": ("no", "yes")},
        "line 2: label is 'maybe', wh",
    ),
    "a number too high": (
        "x.tsv",
        "text\tlabel\na\t1\nb\t2\n",
        {"classes": ("no", "yes")},
        "line 3: label is '2', whi",
    ),
    "a number among names": (
        "x.tsv",
        "text\tlabel\na\tyes\nb\t1\nc\t7\n",
        {"classes": ("no", "yes")},
        "line 3: label is '1', which is no class. Known: no, yes; or, in every row, their numbers 0 to 1.",
    ),
    "more numbers than names": (
        "x.tsv",
        "text\tlabel\na\t2\nb\t0\nc\t3\n",
        {"classes": ("1", "2", "3")},
        "line 3: label is '0', which is no class",
    ),
    "an unlabelled row": ("x.tsv", "text\tlabel\na\t-1\n", {"classes": ("no", "yes")}, "line 2: label is '-1', which"),
    "numbers of rows": ("x.tsv", "text\tlabel\na\t20240101\n", {}, "label reaches 20240101; for so many classes, name"),
    "no score": ("x.tsv", "text\tlabel\na\tnan\n", {"classes": ()}, "line 2: label is 'nan', which is no number"),
    "a label less": ("x.csv", "text,label\na,0\nb,1\nc,\n", {}, "line 4: label is '', so this row has no label"),
    "a name less": ("x.tsv", "text\tlabel\na\tyes\nb\t \nc\tno\n", {}, "line 3: label is '', so this row has no"),
    "a score less": ("x.csv", "text,label\na,0.5\nb,nan\n", {}, "line 3: label is 'nan', so this row has no label"),
    "null": ("x.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": null}\n', {}, "line 2: label is None, so"),
    "NaN in json": (
        "x.jsonl",
        '{"text": "a", "label": "no"}\n{"text": "b", "label": NaN}\n',
        {},
        "line 2: label is nan",
    ),
    "an infinite score": (
        "x.csv",
        "text,label\na,0.5\nb,inf\nc,1.5\n",
        {},
        "line 3: label is 'inf', where 2 of 3 labe",
    ),
    "a number too long": (
        "x.jsonl",
        f'{{"text": "a", "label": 0}}\n{{"text": "b", "label": 1{"0" * 400}}}\n',
        {},
        "line 2",
    ),
    "no number among scores": (
        "x.csv",
        "text,label\n" + "a,0.5\n" * 6 + "b,N/A\n" + "c,3\n" * 3,
        {},
        "line 8: label is 'N/A', where 9 of 10 labels are numbers. Write a number, or take the row out; if all are",
    ),
    "a list": (
        "x.jsonl",
        '{"text": "a", "label": [0]}\n{"text": "b", "label": [1]}\n',
        {},
        "line 1: label is [0] (list)",
    ),
    "an object": (
        "x.jsonl",
        '{"text": "a", "label": "no"}\n{"text": "b", "label": {"no": 1}}\n',
        {"classes": ("no", "{'no': 1}")},
        "line 2: label is {'no': 1} (dict); a label is one text or one number. Write one a row.",
    ),
    "no whole number": (
        "x.csv",
        "text,label\na,1.0\nb,0.5\n",
        {"classes": ("no", "yes")},
        "line 3: label is '0.5', whi",
    ),
    "a float too high": (
        "x.csv",
        "text,label\na,1.0\nb,2.0\n",
        {"classes": ("no", "yes")},
        "line 3: label is '2.0', w",
    ),
    "no labels": (
        "x.csv",
        "text,label\na,-1\nb,-1\n",
        {},
        "label is -1 in every row, as in parts whose labels are kept",
    ),
    "one class": ("x.csv", "text,label\na,good\nb,good\n", {}, "has the one class 'good'"),
    "two of a name": ("x.csv", "text,label\na,x\nb,y\n", {"classes": ("x", "y", "x")}, "two classes of the name 'x'"),
    "nothing": ("x.tsv", "", {}, "is empty: it has no rows"),
    "nothing in json": ("x.jsonl", "\n", {}, "is empty: it has no rows"),
    "only names": ("x.tsv", "text\tlabel\n", {}, "is empty: it has no rows"),
    "two names alike": ("x.tsv", "text\ttext\tlabel\na\tb\t0\n", {}, "two columns of one name"),
    "no object": ("x.jsonl", '{"text": "a", "label": 0}\n[1]\n', {}, "line 2: list, where each line is one object"),
    "no json": ("x.jsonl", '{"text": "a", "label": 0}\n{"text"\n', {}, "line 2: no JSON"),
    "a key less": ("x.jsonl", '{"text": "a", "label": 0}\n{"text": "b"}\n', {}, "line 2: no 'label', which the first"),
    "no text": ("x.jsonl", '{"text": null, "label": 0}\n', {}, "line 1: text is None, which is no text"),
    "another case": ("x.csv", "Text,Label\na,0\n", {}, "; did you mean 'Text'? It has: Text, Label. Name"),
    "pairs of another case": ("x.csv", "Premise,Hypothesis,label\na,b,0\n", {}, "mean 'Premise' and 'Hypothesis'?"),
    "nearly a usual name": ("x.csv", "texts,label\na,0\n", {}, "; did you mean 'texts'?"),
    "a label of another case": ("x.csv", "text,LABEL\na,0\n", {}, "no column 'label'; did you mean 'LABEL'?"),
    "semicolons": ("x.csv", "text;label\na, b;0\n", {}, "the one column 'text;label'. Is it parted by ';'?"),
    "quoted semicolons": ("x.csv", '"text";"label"\n"a";0\n', {}, "double quotes. Is it parted by ';'?"),
    "tabs in a csv": ("x.csv", "text\tlabel\na\t0\n", {}, "Is it parted by tabs? Fields stand between tabs in a .tsv"),
    "commas in a tsv": ("x.tsv", "text,label\na,0\n", {}, "Is it parted by commas?"),
    "semicolons without names": (
        "x.csv",
        "a;0\n",
        {"header": ("text", "label")},
        "line 1: 1 fields, where there are 2 columns (text, label). A field must not hold what parts the fields; "
        "header=… names the columns of a file without them. Is it parted by ';'?",
    ),
    "another form": ("x.xml", "<a/>", {}, "no known form. Known: .tsv, .csv, .jsonl, .parquet"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    name, text, options, said = REFUSED[case]
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path, text, name), **options)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes("text\tlabel\nok\t0\ncafé\t1\n".encode("latin-1"))
    with pytest.raises(BadInput, match="line 3: byte 0xe9 is not UTF-8"):
        read(tmp_path / "x.tsv")


def test_the_byte_behind_a_mark_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbftext,label\nab\xe9\n")
    with pytest.raises(BadInput, match="line 2: byte 0xe9 is not UTF-8"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_told_as_such(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ufefftext,label\na,0\n", encoding=encoding)
    with pytest.raises(BadInput, match=r"x.csv is UTF-16. Save the file as UTF-8 first, .* iconv -f UTF-16 -t UTF-8"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("packed", [".gz", ".xz", ".bz2"])
def test_damaged_archives(packed: str, tmp_path: Path) -> None:
    tsv(tmp_path / "x.tsv")
    data = PACKERS[packed]((tmp_path / "x.tsv").read_bytes())
    for k, damaged in enumerate((data[: len(data) // 2], b"nothing of the kind")):
        (tmp_path / f"{k}.tsv{packed}").write_bytes(damaged)
        with pytest.raises(BrokenFile, match="cannot be unpacked"):
            read(tmp_path / f"{k}.tsv{packed}")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no file .*x.tsv"):
        read(tmp_path / "x.tsv")


# The value.


def test_parts_and_sums() -> None:
    table = Table(tuple("abcdefghij"), None, tuple(range(10)), tuple("0123456789"))
    one, other = table.parted(0.3, seed=1)
    assert (len(one), len(other)) == (3, 7)
    assert sorted((*one.texts, *other.texts)) == list(table.texts)
    assert all(part.texts == tuple(table.texts[k] for k in part.labels) for part in (one, other))
    assert table.parted(0.3, seed=1) == (one, other)
    assert table.parted(0.3, seed=2) != (one, other)
    assert (one + other).texts == one.texts + other.texts
    with pytest.raises(BadInput, match="leaves one part empty"):
        table.parted(0.01)


def test_tables_that_do_not_fit() -> None:
    one = Table(("a",), None, (0,), ("x", "y"))
    for other in (Table(("a",), ("b",), (0,), ("x", "y")), Table(("a",), None, (0,), ("y", "x"))):
        with pytest.raises(BadInput, match="same classes and as many texts a row"):
            _ = one + other
    with pytest.raises(BadInput, match="of one length"):
        Table(("a", "b"), None, (0,), ("x",))
    with pytest.raises(BadInput, match="2 classes have numbers 0 to 1; found 0 to 2"):
        Table(("a", "b"), None, (0, 2), ("x", "y"))
    with pytest.raises(BadInput, match=r"the one class 'x', .* Name all classes, .*; or none, \(\), for scores"):
        Table(("a", "b"), None, (0, 0), ("x",))
    with pytest.raises(BadInput, match=r"two classes of the name 'x': x, y, x\. Name each once"):
        Table(("a", "b"), None, (0, 2), ("x", "y", "x"))


def test_numbers_of_a_file_that_names_its_classes_are_none_of_yours(tmp_path: Path) -> None:
    """Its 3 is its fourth class, though a name of yours too; of those that were asked for there is none."""
    sheet = Sheet(tmp_path / "x", {"label": [1, 2, 3]}, [1, 2, 3], {"label": ("a", "b", "c", "d")})
    with pytest.raises(
        BadInput, match=r"label is 3, which is no class. Known: 1, 2, 3; or, in every row, their numbers"
    ):
        labels_of(sheet, "label", ("1", "2", "3"))


# Numbers of a file that names its classes, and other numbers that are asked for.


@pytest.mark.parametrize(
    ("own", "asked", "order"),
    [
        ("pos neg", "neg pos", (1, 0)),
        ("Pos Neg", "neg pos", (1, 0)),
        ("b c a", "a b c", (1, 2, 0)),
        ("a A", "A a", (1, 0)),  # told apart by their case alone
        ("0 1", "1 0", (1, 0)),
        ("pos neg", "pos neg", None),
        ("NEG POS", "neg pos", None),
    ],
)
def test_classes_of_a_file_are_known_by_their_names(
    own: str, asked: str, order: tuple[int, ...] | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    names = tuple(own.split())
    assert order_of("x", names, asked.split()) == order
    sheet = Sheet(tmp_path / "x", {"label": [0, 1, 1]}, [1, 2, 3], {"label": names})
    labels, classes = labels_of(sheet, "label", tuple(asked.split()))
    assert [classes[int(k)].casefold() for k in labels] == [names[k].casefold() for k in (0, 1, 1)]
    assert not caplog.records


@pytest.mark.parametrize(
    ("own", "asked"),
    [("0 1", "neg pos"), ("good bad", "neg pos"), ("0 1 2", "1 2 3"), ("neg positive", "neg pos"), ("a b c", "a b")],
)
def test_numbers_of_unknown_names_are_taken_and_told(own: str, asked: str, caplog: pytest.LogCaptureFixture) -> None:
    assert order_of("x", own.split(), asked.split()) is None
    both = f"x has the classes {', '.join(own.split())}, and {', '.join(asked.split())} are asked for"
    assert [r.getMessage() for r in caplog.records] == [f"{both}; its numbers are taken for these, in this order"]


@pytest.mark.parametrize(("own", "asked"), [("pos negative", "neg pos"), ("no maybe yes", "no yes"), ("a b", "b c")])
def test_names_of_which_some_stand_elsewhere_are_refused(own: str, asked: str, tmp_path: Path) -> None:
    """Before a number that is too high for what was asked."""
    last = len(own.split()) - 1
    sheet = Sheet(tmp_path / "x", {"label": [last]}, [1], {"label": tuple(own.split())})
    with pytest.raises(BadInput, match=r"are asked for, some of them at another place. Name all as the file does"):
        labels_of(sheet, "label", tuple(asked.split()))
