"""Records: exact round trips, errors that name the place, files that are never half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import MissingExtra, NiwakiError
from niwaki.report import Entry, GroupParting, Latency, Parting, Patterns, Phase, Point, Report, ReportError, Trace
from tests.report.sample import MATRICES, certificate, check, dense, full, greg, parting, patterns, sample, trace


def test_round_trip_through_json_and_disk(tmp_path: Path) -> None:
    report = full()
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    report.save(tmp_path)
    assert Report.load(tmp_path) == report
    assert Report.load(tmp_path / "report.json") == report


def test_saving_again_writes_the_same_bytes(tmp_path: Path) -> None:
    first = full().save(tmp_path / "a")
    second = Report.load(tmp_path / "a").save(tmp_path / "b")
    assert first.name == "report.html"
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/report.json").read_bytes() == (tmp_path / "b/report.json").read_bytes()


def test_lists_are_frozen_into_tuples() -> None:
    made = Trace("dense", "g", [0, 1], [0.0, 0.5], [[1.0], [0.5]], [0])
    assert (made.steps, made.norms, made.chosen) == ((0, 1), ((1.0,), (0.5,)), (0,))
    with pytest.raises(FrozenInstanceError):
        made.group = "other"  # type: ignore[misc]


def edited(path: str, value: Any) -> dict[str, Any]:
    data = sample().to_json()
    *way, last = path.split(".")
    place: Any = data
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    return data


ROUND = {"step": 0, "sparsity": 0.0, "matrices": {"a": next(iter(patterns().rounds[0].matrices.values())).to_json()}}


def rounds(**change: Any) -> list[dict[str, Any]]:
    """The patterns of one round with one change to the round or, if it has no such key, to its matrix."""
    matrices = ROUND["matrices"] if set(change) <= set(ROUND) else {"a": ROUND["matrices"]["a"] | change}
    change = change if set(change) <= set(ROUND) else {}
    return [{"entry": "greg1", "rounds": [ROUND | {"matrices": matrices} | change]}]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("entries.1.acuracy", 0.9, r"entries\[1\]: unknown key 'acuracy'; did you mean 'accuracy'\?"),
        ("entrys", [], r"Report: unknown key 'entrys'; did you mean 'entries'\?"),
        ("zzz", 1, r"Report: unknown key 'zzz'; known keys: title, created"),
        ("entries.0.latency.0.median_ns", 1, r"entries\[0\]\.latency\[0\]: unknown key .* 'median_ms'\?"),
        ("entries.0.macs", 1.5, r"entries\[0\]\.macs must be an integer, not float \(1\.5\)"),
        ("entries.0.macs", True, r"entries\[0\]\.macs must be an integer, not bool"),
        ("entries.0.accuracy", "0.9", r"entries\[0\]\.accuracy must be a number, not str"),
        ("entries.0.accuracy", 91.1, r"entries\[0\]: accuracy must be a share between 0 and 1, not 91\.1"),
        ("entries.0.label", None, r"entries\[0\]\.label must be a string, not NoneType"),
        ("entries.0.widths", {"stem": 1.5}, r"entries\[0\]\.widths\.stem must be an integer"),
        ("entries.0.widths", [1], r"entries\[0\]\.widths must be a dict, not list"),
        ("entries", {}, r"entries must be a list, not dict"),
        ("traces.0.norms.3.2", "x", None),
        ("version", 2, r"version 2; this Niwaki reads version 1"),
        ("settings", {"lr": float("nan")}, r"settings\.lr is nan"),
        ("traces.0.entry", "greg9", r"trace: no entry is named 'greg9'; entries: dense, greg1"),
        ("curve.0.entry", "greg9", r"curve: no entry is named 'greg9'"),
        ("partings", [{"entry": "greg9", "phases": [], "groups": [], "parted": None}], "parting: no entry is named 'g"),
        ("partings", [{"entry": "greg1", "phases": [], "groups": []}], r"partings\[0\]: missing key 'parted'"),
        ("partings", [parting().to_json()] * 2, "partings: 'greg1' appears twice"),
        ("patterns", [{"entry": "greg9", "rounds": [ROUND]}], "patterns: no entry is named 'greg9'"),
        ("patterns", [{"entry": "greg1", "rounds": [ROUND]}] * 2, "patterns: 'greg1' appears twice"),
        ("patterns", [{"entry": "greg1", "rounds": []}], r"patterns\[0\]: .*'greg1': there must be one round"),
        ("patterns", rounds(sparsity=1.5), r"rounds\[0\]: sparsity must be a share between 0 and 1, not 1\.5"),
        ("patterns", rounds(sparsity=None), r"rounds\[0\]\.sparsity must be a number, not NoneType"),
        ("patterns", rounds(step=-1), r"rounds\[0\]: step must not be negative"),
        ("patterns", rounds(matrices={}), "matrices at step 0: a round needs the pattern of one matrix"),
        ("patterns", rounds(matrices={"a": 1}), r"matrices\.a must be a dict, not int"),
        ("patterns", rounds(gini_rows=2), r"matrices\.a: gini_rows must be a number from 0 to 0\.98\d*, not 2"),
        ("patterns", rounds(gini_rows=float("nan")), r"gini_rows is nan"),
        ("patterns", rounds(blocks=[[1.5]]), r"matrices\.a\.blocks\[0\]\[0\] must be an integer"),
        ("patterns", rounds(emptyrows=1), r"matrices\.a: unknown key 'emptyrows'; did you mean 'empty_rows'\?"),
    ],
)
def test_from_json_names_what_is_wrong(path: str, value: Any, message: str | None) -> None:
    if message is None:
        data = sample().to_json()
        data["traces"][0]["norms"][3][2] = value
        message = r"traces\[0\]\.norms\[3\]\[2\] must be a number"
    else:
        data = edited(path, value)
    with pytest.raises(ReportError, match=message):
        Report.from_json(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"zzz": 1}, "Report: unknown key 'zzz'"),
        ({"entries": {}}, "entries must be a list, not dict"),
        ({"seed": float("nan")}, "the file holds NaN"),
        ({"version": 2, "zzz": 1}, "version 2; this Niwaki reads version 1: install a newer one"),
    ],
)
def test_a_file_that_is_no_report_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """And the version of a newer one before the keys that only that one knows."""
    (tmp_path / "report.json").write_text(json.dumps(sample().to_json() | change))
    with pytest.raises(ReportError) as caught:
        Report.load(tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "report.json"))


def test_missing_keys_are_named() -> None:
    data = sample().to_json()
    del data["entries"][2]["macs"], data["entries"][2]["params"]
    with pytest.raises(ReportError, match=r"entries\[2\]: missing key 'macs', 'params'"):
        Report.from_json(data)
    assert issubclass(ReportError, NiwakiError)
    assert issubclass(ReportError, ValueError)
    with pytest.raises(ReportError, match="Latency must be a dict, not list"):
        Latency.from_json([])


def test_a_file_from_before_partings_and_patterns_is_read() -> None:
    data = full().to_json()
    del data["patterns"]
    assert Report.from_json(data) == replace(full(), patterns=())
    del data["partings"]
    old = Report.from_json(data)
    assert (old.partings, old.patterns) == ((), ())
    assert old == replace(full(), partings=(), patterns=())
    del data["traces"]
    with pytest.raises(ReportError, match=r"Report: missing key 'traces'$"):
        Report.from_json(data)


def test_a_parting_tells_its_stages_its_end_and_where_units_were_picked() -> None:
    made = parting()
    assert made.stages == [("spread", 0.0), ("press", 1000.0), ("hold", 5000.0)]
    assert made.end == 5600
    assert made.picked == pytest.approx(1e-5 * 1000 / 1.1)
    assert parting(alike=False).picked is None
    alone = replace(made, groups=[GroupParting("g", [0, 7], [0.1, 0.2], [0.0, 0.1], [None, None])], phases=[])
    assert alone.picked is None
    assert alone.end == 7


def test_patterns_are_written_as_they_write_themselves() -> None:
    (told,) = full().to_json()["patterns"]
    for one, data in zip(patterns().rounds, told["rounds"], strict=True):
        assert data["matrices"] == {name: pattern.to_json() for name, pattern in one.matrices.items()}


def test_patterns_know_their_names_and_their_figures_together() -> None:
    told = patterns(layers=1)
    assert told.names == [f"encoder.layer.0.{name}.weight" for name in MATRICES]
    assert told.last.together.sparsity == pytest.approx(0.95, abs=1e-3)
    some = replace(told.last, matrices=dict(list(told.last.matrices.items())[1:]))
    assert Patterns("e", [some, told.last]).names == told.names[1:] + told.names[:1]
    with pytest.raises(ReportError, match="'e': the round of step 0 stands behind that of step 5000"):
        Patterns("e", [told.last, told.rounds[0]])


def test_rows_of_numbers_stand_on_one_line(tmp_path: Path) -> None:
    report = sample(settings={"text": "a [  1, 2]", "empty": [], "words": ["a", "b"], "mixed": [1, None, -2.5e-7]})
    report.save(tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text) == report.to_json()
    assert '"mixed": [1, null, -2.5e-07]' in text
    assert '"words": [\n' in text
    assert max(map(len, text.splitlines())) > 1000  # the norms of a step


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(bad: float, tmp_path: Path) -> None:
    broken = greg(seconds={"press": bad})
    cases = [
        (sample(curve=[Point("dense", "train", 1, bad, 0.5)]), r"curve\[0\]\.loss"),
        (sample(settings={"a": {"b": [0.0, bad]}}), r"settings\.a\.b\[1\]"),
        (sample(entries=[dense(), broken], traces=[], curve=[]), r"entries\[1\]\.seconds\.press"),
    ]
    for report, place in cases:
        with pytest.raises(ReportError, match=place + " is .*finite numbers only"):
            report.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_nan_accuracy_is_refused_by_name() -> None:
    with pytest.raises(ReportError, match=r"^accuracy is nan"):
        greg(accuracy=float("nan")).to_json()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"f": object()}, r"settings\.f must be a JSON value, not object"),
        ({"f": {1: 2}}, r"settings\.f: keys must be strings, not int \(1\)"),
        ({"f": "\ud800"}, r"settings\.f is not valid Unicode"),
    ],
)
def test_to_json_refuses_what_json_cannot_say(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        sample(settings=settings).to_json()


def without(key: str) -> dict[str, Any]:
    bad = check("cut", "masked")
    del bad[key]
    return {"holds": True, "checks": [check("cut", "masked"), bad]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Latency("r", 1, 1, 0.0, 1.0, 0.0, 5), "median_ms must be positive, not 0.0"),
        (lambda: Latency("r", 1, 1, 1.0, 1.0, -0.1, 5), "spread_ms must not be negative"),
        (lambda: greg(macs=-1), "macs must not be negative"),
        (lambda: greg(latency=[*dense().latency] * 2), r"latency: \('PyTorch', 2, 16\) appears twice"),
        (lambda: greg(certificate={"checks": []}), "certificate of 'greg1': needs 'holds'"),
        (lambda: greg(certificate={"holds": True}), "certificate of 'greg1': needs 'checks'"),
        (lambda: greg(certificate=without("worst")), r"checks\[1\] needs 'worst' \(int or float or None"),
        (lambda: Trace("e", "g", [0], [0.0, 1.0], [[1.0]], []), "equally long, not 1, 2 and 1"),
        (lambda: Trace("e", "g", [0, 1], [0, 1], [[1.0], [1.0, 2.0]], []), r"per unit, found \[1, 2\]"),
        (lambda: Trace("e", "g", [0], [0.0], [[1.0]], [1]), "chosen unit 1 does not exist among 1 units"),
        (lambda: GroupParting("g", [0], [0.1], [0.2], []), r"parting of 'g': .* equally long, not \[1, 1, 1, 0\]"),
        (lambda: Parting("e", [], [GroupParting("g", [], [], [], [])] * 2), "groups: 'g' appears twice"),
        (lambda: Parting("e", [], [], 0.0), "parted must be positive"),
        (lambda: Phase("press", -1), "step must not be negative"),
        (lambda: sample(entries=[dense(), dense()], traces=[], curve=[]), "entries: 'dense' appears twice"),
    ],
)  # fmt: skip
def test_records_refuse_nonsense(make: Any, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        make()


def test_a_certificate_may_hold_more_than_it_must() -> None:
    entry = greg(certificate=certificate() | {"seed": 7})
    assert Entry.from_json(entry.to_json()) == entry


@pytest.mark.parametrize("text", ["{", '{"title": NaN}', "[]"])
def test_load_refuses_what_is_no_report(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ReportError):
        Report.load(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample().save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        replace(sample(), title="other").save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert sorted(before) == ["report.html", "report.json"]


def test_a_page_that_cannot_be_drawn_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Report) -> str:
        raise RuntimeError("no page")

    monkeypatch.setattr("niwaki.report.page.render", fail)
    with pytest.raises(RuntimeError, match="no page"):
        sample().save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'niwaki\[plot\]'"):
        sample().save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert sample(entries=[dense()], traces=[], curve=[]).save(tmp_path).exists()


def test_import_is_light() -> None:
    """The room alone, whatever the package's front door imports."""
    import niwaki

    code = (
        "import sys, types; niwaki = types.ModuleType('niwaki'); niwaki.__path__ = sys.argv[1:]\n"
        "sys.modules['niwaki'] = niwaki; import niwaki.report\n"
        "print(sorted({'matplotlib', 'jinja2', 'rich', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *niwaki.__path__], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_trace_of_the_sample_has_the_shape_it_says() -> None:
    made = trace(units=64)
    assert len(made.norms) == len(made.steps) == 101
    assert {len(row) for row in made.norms} == {64}
