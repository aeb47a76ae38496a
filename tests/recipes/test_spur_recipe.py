"""The recipe of SPUR on a tiny encoder: what it leaves loads as any other model of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from niwaki.cli import main
from niwaki.report import Report
from niwaki.text import jobs
from tests.recipes.shipped import RECIPES, as_options
from tests.text import tiny

transformers = pytest.importorskip("transformers")
BERT = (
    "model_args={encoder: encoders/bert, task: sst2}",
    "inputs={input_ids: {shape: [1, 8], below: 20}, attention_mask: {shape: [1, 8], fill: 1}}",
    "data_args={task: sst2, encoder: encoders/bert, size: 8}",
    "evaluate_args={task: sst2, encoder: encoders/bert}",
    "measure={runs: 0}",
    "optimizer.lr=0.01",
)


@pytest.fixture
def root(own_data: Path) -> Path:
    jobs._tokens.cache_clear()
    tiny.sst2(own_data)
    tiny.encoder(own_data / "encoders" / "bert")
    return own_data


def test_it_leaves_folders_that_load_with_from_pretrained(root: Path) -> None:
    out = root / "out"
    changes = (*BERT, f"out={out}", "method.IMP.steps=2", "method.SPUR.steps=2")
    done = CliRunner().invoke(main, ["prune", str(RECIPES / "spur" / "sst2.yaml"), *as_options(*changes)])
    assert done.exit_code == 0, done.output
    report = Report.load(out)
    assert [entry.label for entry in report.entries] == ["Dense BertForSequenceClassification", "IMP", "SPUR"]
    assert [len(told.rounds) for told in report.patterns] == [5, 5]
    for entry in report.entries[1:]:
        loaded = transformers.AutoModelForSequenceClassification.from_pretrained(out / entry.name)
        saved = load_file(out / entry.name / "model.safetensors")
        assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())
        inside = [p for name, p in loaded.named_parameters() if ".layer." in name and p.dim() > 1]
        zeros = sum(int((p == 0).sum()) for p in inside) / sum(p.numel() for p in inside)
        assert zeros == pytest.approx(0.95, abs=0.01)


def test_fast_is_shorter() -> None:
    from niwaki.recipes import Recipe

    path = RECIPES / "spur" / "sst2.yaml"
    slow, fast = Recipe.load(path), Recipe.load(path, fast=True)
    assert [m.settings["steps"] for m in slow.methods] == [6315, 6315]
    assert [m.settings["steps"] for m in fast.methods] == [400, 400]
