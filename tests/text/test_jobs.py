"""The functions that recipes name: where they look, what they give, and a BERT that is pruned from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from niwaki.cli import main
from niwaki.errors import BadInput
from niwaki.recipes.judging import measure_of
from niwaki.report import Report
from niwaki.text import jobs
from niwaki.text.metrics import METRICS, TITLES
from tests.text import tiny

pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def root(own_data: Path) -> Path:
    jobs._tokens.cache_clear()
    tiny.sst2(own_data)
    tiny.encoder(own_data / "encoders" / "bert")
    return own_data


def test_an_encoder_by_its_folder_or_below_the_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = jobs.classifier(str(root / "encoders" / "bert"), "sst2")
    other = jobs.classifier("encoders/bert", "sst2")
    monkeypatch.chdir(root / "encoders")
    third = jobs.classifier("bert", "sst2")
    for model in (other, third):
        assert all(map(torch.equal, one.state_dict().values(), model.state_dict().values()))
    assert one.config.id2label == {0: "negative", 1: "positive"}
    assert jobs.classifier("bert", "sick-r").config.num_labels == 1
    with pytest.raises(BadInput, match=r"There is no folder roberta nor .*roberta; name the encoder's"):
        jobs.classifier("roberta", "sst2")


def test_batches_are_seeded_and_read_once(root: Path) -> None:
    one, same, other = (jobs.batches("sst2", "encoders/bert", size=8, seed=seed) for seed in (1, 1, 2))
    assert one.tokens is other.tokens
    first = [batch["input_ids"].tolist() for batch in one]
    assert first == [batch["input_ids"].tolist() for batch in same]
    assert first != [batch["input_ids"].tolist() for batch in other]
    assert len(first) == 12
    assert len(jobs.batches("sst2", "encoders/bert", part="dev", size=8)) == 5


def test_a_score_is_a_share(root: Path) -> None:
    model = jobs.classifier("encoders/bert", "sst2")
    batch = jobs.tokens("sst2", "encoders/bert", "dev").batch(torch.arange(40))
    labels = batch.pop("labels")
    right = (model.eval()(**batch).logits.argmax(1) == labels).float().mean()
    assert jobs.score(model, "sst2", "encoders/bert") == pytest.approx(float(right))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    assert jobs.score(model, "sst2", "encoders/bert") == 0.5
    assert jobs.score(model, "sst2", "encoders/bert", metric="f1") == pytest.approx(2 / 3)
    assert jobs.score(model, "sst2", "encoders/bert", metric="matthews") == 0
    with pytest.raises(BadInput, match="sst2: 2 classes cannot be measured by 'pearson'"):
        jobs.score(model, "sst2", "encoders/bert", metric="pearson")


def test_a_correlation_below_zero_is_told_as_zero(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = jobs.classifier("encoders/bert", "sst2")
    monkeypatch.setattr(jobs.answers, "measured", lambda *said: {"accuracy": -0.25})
    assert jobs.score(model, "sst2", "encoders/bert") == 0


def test_a_score_has_the_name_of_its_measure() -> None:
    for task, metric, name in (
        ("sst2", None, "accuracy"), ("mrpc", None, "F1"), ("cola", None, "Matthews"), ("sick-r", None, "Pearson"),
        ("sst2", "f1", "F1"),
    ):  # fmt: skip
        given = {"task": task, "encoder": "encoders/bert"} | ({"metric": metric} if metric else {})
        assert measure_of(jobs.score, given) == name
    assert set(TITLES) == set(METRICS)


RECIPE: dict[str, Any] = {
    "model": "niwaki.text.jobs:classifier",
    "model_args": {"encoder": "encoders/bert", "task": "sst2"},
    "inputs": {"input_ids": {"shape": [2, 9], "below": 20}, "attention_mask": {"shape": [2, 9], "fill": 1}},
    "data": "niwaki.text.jobs:batches",
    "data_args": {"task": "sst2", "encoder": "encoders/bert", "size": 8},
    "loss": "niwaki.text.jobs:loss",
    "evaluate": "niwaki.text.jobs:score",
    "evaluate_args": {"task": "sst2", "encoder": "encoders/bert"},
    "method": {"name": "magnitude", "target": {"ratio": {"*query#2": 0.5, "*intermediate*": 0.5}}},
    "finetune": {
        "epochs": 6,
        "optimizer": {"name": "AdamW", "lr": 1e-2, "weight_decay": 0.01, "decay": "matrices", "clip": 1.0},
        "schedule": {"linear": {"warmup": 0.1}},
    },
    "measure": {"runs": 1},
}


def test_a_bert_is_pruned_from_end_to_end(root: Path) -> None:
    path, out = root / "recipe.yaml", root / "out"
    path.write_text(yaml.safe_dump({**RECIPE, "out": str(out)}))
    done = CliRunner().invoke(main, ["prune", str(path)])
    assert done.exit_code == 0, done.output
    report = Report.load(out)
    dense, small = report.entries
    assert small.macs < 0.7 * dense.macs
    assert small.accuracy is not None
    assert small.accuracy > 0.9  # by fine-tuning: the dense network was not trained
    certificate = json.loads((out / "magnitude" / "certificate.json").read_text())
    assert certificate["holds"]
    assert "reloaded" in [check["name"] for check in certificate["checks"]]
    left = {name: width for name, width in small.widths.items() if width < dense.widths[name]}
    assert sorted(left.values()) == [2, 2, 12, 12]  # of 4 heads and of 24 neurons in each layer


def test_files_of_one_s_own_take_the_place_of_a_task(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {part: str(next(root.glob(f"text/en/sst2.{part}.*"))) for part in ("train", "dev")}
    encoder = str(root / "encoders" / "bert")
    named = jobs.batches("sst2", encoder, size=8)
    monkeypatch.delenv("NIWAKI_DATA")
    own = {**files, "classes": ["negative", "positive"]}
    assert jobs.classifier(encoder, own).config.id2label == {0: "negative", 1: "positive"}
    for mine, theirs in zip(jobs.batches(own, encoder, size=8), named, strict=True):
        assert all(map(torch.equal, mine.values(), theirs.values()))
    recipe = {**RECIPE, "finetune": {**RECIPE["finetune"], "epochs": 1}, "out": str(root / "own")}
    for args in ("model_args", "data_args", "evaluate_args"):
        recipe[args] = {**RECIPE[args], "encoder": encoder, "task": own}
    (root / "own.yaml").write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(main, ["prune", str(root / "own.yaml")])
    assert done.exit_code == 0, done.output
    assert Report.load(root / "own").entries[1].accuracy is not None


def test_the_attention_mask_is_in_the_graph(root: Path) -> None:
    import niwaki as nk
    from niwaki.recipes import Recipe
    from niwaki.recipes.ingredients import model_and_inputs

    model, inputs = model_and_inputs(Recipe.read({**RECIPE, "out": "x"}))
    graph = nk.trace(model, inputs)
    kinds = {kind: sum(group.kind == kind for group in graph.groups) for kind in ("head", "neuron")}
    assert kinds == {"head": 2, "neuron": 3}  # two layers, and the pooler
