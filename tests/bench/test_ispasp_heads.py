"""Heads of an encoder: every cell once and alike, sizes as asked, the table as by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from niwaki.bench.ispasp import heads, table
from niwaki.bench.ispasp.heads import PRUNERS, Heads
from niwaki.cli import main
from niwaki.errors import BadInput, BrokenFile
from niwaki.recipes.progress import Teller
from niwaki.text.encoders import classifier
from niwaki.text.finetuning import Settings
from niwaki.text.tasks import task
from tests.text import tiny

QUIET = Teller(quiet=True)


@pytest.fixture(autouse=True)
def _here(own_data: Path) -> None:
    tiny.sst2(own_data)
    encoder = tiny.encoder(own_data / "encoder")
    model = classifier(encoder, 2)
    model.save_pretrained(encoder)


def order(root: Path, **changes: Any) -> Heads:
    asked = {"kept": (0.5,), "seeds": 1, "tuning": Settings(epochs=1, lr=1e-3, size=16), **changes}
    return Heads(task("sst2"), root / "encoder", root / "out", **asked)


def test_every_pruner_keeps_as_many_heads_and_is_certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = order(tmp_path).run(QUIET)
    assert [each["pruner"] for each in found] == list(PRUNERS)
    assert all(each["certified"] for each in found)
    assert all(0 <= each[when] <= 1 for each in found for when in ("dense", "before", "after"))
    assert (found[0]["task"], found[0]["measure"], found[0]["heads"]) == ("sst2", "accuracy", 4)
    monkeypatch.setattr(heads, "prune", None)  # what is there is read
    assert order(tmp_path).run(QUIET) == found
    assert sorted(heads.read(tmp_path / "out"), key=str) == sorted(found, key=str)


def test_half_of_the_heads_of_every_layer_go(tmp_path: Path) -> None:
    asked = order(tmp_path)
    assert len(asked._names) == 2
    for name in ("uniform", "ispasp"):
        small, figures = asked._pruned(0, 0.5, name, QUIET, "")
        attention = [layer.attention.self for layer in small.bert.encoder.layer]
        assert [a.query.out_features for a in attention] == [8, 8]
        assert figures["certified"]


def test_seeds_have_samples_of_their_own_and_repeat(tmp_path: Path) -> None:
    asked = order(tmp_path)
    one, again, other = (asked._samples(seed) for seed in (0, 0, 1))
    assert all(left["input_ids"].equal(right["input_ids"]) for left, right in zip(one, again, strict=True))
    assert not all(a["labels"].equal(b["labels"]) for a, b in zip(one, other, strict=True))
    assert sum(len(batch["labels"]) for batch in one) == 96
    lengths = [int(n) for batch in one for n in batch["attention_mask"].sum(1)]
    assert lengths == sorted(lengths)


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    order(tmp_path, pruners=("uniform",)).run(QUIET)
    with pytest.raises(BrokenFile, match="has another rows: None, not 20; remove it"):
        order(tmp_path, pruners=("uniform",), rows=20).run(QUIET)
    with pytest.raises(BadInput, match="no pruner is called 'ispsp'; did you mean 'ispasp'"):
        order(tmp_path, pruners=("ispsp",))


def test_two_encoders_share_a_folder(tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "encoder", tmp_path / "another")
    for name in ("encoder", "another"):
        asked = replace(order(tmp_path, pruners=("uniform",)), encoder=tmp_path / name)
        assert [row["encoder"] for row in asked.run(QUIET)] == [name]
    assert sorted(row["encoder"] for row in heads.read(tmp_path / "out")) == ["another", "encoder"]


def test_the_table_by_hand() -> None:
    base = {"task": "sst2", "encoder": "mini", "dense": 0.9, "kept": 0.25}
    rows = [("ispasp", 0.5, 0.8), ("ispasp", 0.6, 0.9), ("michel", 0.5, 0.7)]
    results = [{**base, "pruner": name, "before": before, "after": after} for name, before, after in rows]
    found = table.kept_heads(results)
    assert found[0] == ["task, encoder", "heads chosen by", "25% kept, as cut", "25% kept, tuned"]
    assert found[1] == ["sst2, mini", "Michel et al., all layers together", "50.00", "70.00"]
    assert found[2][2:] == ["55.00 ± 7.07 (2)", "85.00 ± 7.07 (2)"]
    assert found[3] == ["sst2, mini", "all heads", "90.00", "90.00"]


def test_the_command_runs(tmp_path: Path) -> None:
    words = ["--task", "sst2", "--encoder", str(tmp_path / "encoder"), "--pruner", "topk", "--kept", "0.5"]
    words += ["--seeds", "1", "--rows", "40", "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(main, ["bench", "ispasp", "heads", *words])
    assert told.exit_code == 0, told.output
    assert "Top-K of hidden mass" in told.output
    assert "all heads" in (tmp_path / "out" / "heads.md").read_text()
    (kept,) = (tmp_path / "out" / "heads").glob("*.json")
    assert json.loads(kept.read_text())["rows"] == 40
