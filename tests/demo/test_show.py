"""The whole demo in its short form: one run, and what it must leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import niwaki as nk
from niwaki.cli import main
from niwaki.demo import job
from niwaki.report import Report


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(main, ["demo", "--fast", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    assert "Report:" in done.output
    return folder


def test_it_compares_both_methods_with_the_dense_network(out: Path) -> None:
    report = Report.load(out)
    assert [e.name for e in report.entries] == ["dense", "magnitude", "greg1"]
    dense, *small = report.entries
    for entry in small:
        assert 0.28 < entry.macs / dense.macs <= 1 / 3
        assert entry.params < dense.params
        assert entry.file_bytes < dense.file_bytes
        assert entry.accuracy is not None
        assert entry.accuracy > 0.3  # a tenth would be guessing
        assert all(width % 8 == 0 for width in entry.widths.values())
        assert {t.runtime for t in entry.latency} == {"PyTorch", "ONNX Runtime"}
    assert {t.entry for t in report.traces} == {"greg1"}


def test_its_certificates_hold_and_cover_the_whole_chain(out: Path) -> None:
    for entry in json.loads((out / "report.json").read_text())["entries"][1:]:
        checks = {(c["name"], c["kind"]): c["holds"] for c in entry["certificate"]["checks"]}
        wanted = [("cut", "forward"), ("cut", "gradient"), ("reloaded", "forward"), ("onnx", "forward")]
        wanted.append(("onnx", "file size"))
        assert checks == dict.fromkeys(wanted, True)
        assert entry["certificate"]["holds"]
        assert json.loads((out / entry["name"] / "certificate.json").read_text())["holds"]


def test_what_it_saved_is_what_it_measured(out: Path) -> None:
    for entry in Report.load(out).entries[1:]:
        small = nk.load(out / entry.name, job.build())
        assert nk.measure.params(small) == entry.params
        assert job.accuracy(small) == pytest.approx(entry.accuracy, abs=0.002)
        assert (out / entry.name / "model.onnx").stat().st_size < (out / "dense" / "model.onnx").stat().st_size
        assert json.loads((out / entry.name / "plan.json").read_text())["format"] == "niwaki.plan"


def test_the_page_stands_alone_and_shows_its_figures(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 5
    assert "src=" not in page
    assert "GReg-1" in page
