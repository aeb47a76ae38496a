"""The script that fine-tunes encoders for the comparisons: a whole run of it on a tiny one."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from niwaki.text.finetuning import Settings
from niwaki.text.tasks import Task
from tests.text.tiny import BAD, GOOD, encoder

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    found, ledger = (importlib.import_module(name) for name in ("text_dense", "ledger"))
    for module in (found, ledger):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return found


def test_it_leaves_the_encoder_and_a_row_and_nothing_else(script: Any, tmp_path: Path) -> None:
    rows = [f"the film was {(BAD, GOOD)[k % 2][k % 3]}\t{('bad', 'good')[k % 2]}" for k in range(24)]
    for part in ("train", "dev"):
        (tmp_path / f"{part}.tsv").write_text("\n".join(["text\tlabel", *rows]), encoding="utf-8")
    files = {part: (str(tmp_path / f"{part}.tsv"),) for part in ("train", "dev")}
    place, before = tmp_path / "tuned", encoder(tmp_path / "encoder")
    found = script.one(Task("films", files, ("bad", "good")), before, Settings(1, size=8), 16, place, 16)
    assert found["rows"] == [16, 24]
    assert 0 <= found["measures"]["accuracy"] <= 1
    names = {path.name for path in place.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if "checkpoint" in name]
    script.join(found)
    script.join(found)  # in place of the one that is there
    (row,) = json.loads((tmp_path / "text_dense.json").read_text())["raw"]
    assert row["task"] == "films"
