"""The rules of a fair comparison: each of them broken once, before anything is run and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.report.fairness import RULES, Start, level, mixtures, varying
from niwaki.sweeps import Sweep
from niwaki.sweeps.grid import require_fair
from niwaki.sweeps.run import checked
from tests.sweeps.plots import planted

SETTINGS: dict[str, Any] = {
    "model": "nets:build", "model_args": {"width": 8}, "inputs": [[1, 4]], "data": "nets:data",
    "data_args": {"size": 64}, "loss": "nets:loss", "evaluate": "nets:accuracy", "evaluate_args": {"size": 10},
    "optimizer": {"name": "SGD", "lr": 0.1}, "finetune": {"epochs": 2, "schedule": "cosine"},
}  # fmt: skip


def start(fingerprint: str | None = None, /, **changes: Any) -> Start:
    found = {**SETTINGS, **changes}
    return Start({key: value for key, value in found.items() if value is not None}, fingerprint)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": "nets:other"}, "base"),
    "arguments of the model": ({"model_args": {"width": 9}}, "base"),
    "file of weights": ({"weights": "b.safetensors"}, "base"),
    "data": ({"data": "nets:more"}, "data"),
    "batch": ({"data_args": {"size": 128}}, "data"),
    "loss": ({"loss": "nets:distilled"}, "retraining"),
    "epochs": ({"finetune": {"epochs": 3, "schedule": "cosine"}}, "retraining"),
    "no tuning": ({"finetune": None}, "retraining"),
    "schedule": ({"finetune": {"epochs": 2, "schedule": "constant"}}, "retraining"),
    "rate": ({"optimizer": {"name": "SGD", "lr": 0.01}}, "retraining"),
    "weight decay": ({"optimizer": {"name": "SGD", "lr": 0.1, "weight_decay": 1e-4}}, "retraining"),
    "augmentation": ({"finetune": {"epochs": 2, "data_args": {"flip": True}}}, "retraining"),
    "evaluation": ({"evaluate": "nets:top5"}, "evaluation"),
    "evaluated images": ({"evaluate_args": {"size": 20}}, "evaluation"),
    "inputs": ({"inputs": [[8, 4]]}, "measuring"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_every_rule_is_held(case: str) -> None:
    changes, rule = BROKEN[case]
    (found,) = mixtures({"a": start(), "b": start(), "c": start(**changes)})
    assert (found.rule, found.names) == (rule, ("a", "c"))
    assert str(found).startswith(f"a and c differ in {found.key} (")
    assert found.values[0] != found.values[1]


def test_every_key_of_every_rule_has_a_case() -> None:
    keys = {key for changes, _ in BROKEN.values() for key in changes}
    assert keys == {key for rule in RULES.values() for key in rule}


def test_the_same_is_the_same_however_it_is_said() -> None:
    """The optimizer of fine-tuning is the recipe's where it has none of its own; no epochs are no fine-tuning."""
    own = {"epochs": 2, "schedule": "cosine", "optimizer": SETTINGS["optimizer"]}
    assert mixtures({"a": start(), "b": start(finetune=own), "c": start(finetune={"epochs": 2})}) == []
    assert mixtures({"a": start(finetune=None), "b": start(finetune={"epochs": 0, "schedule": "constant"})}) == []
    assert mixtures({"a": start(seed=0, out="x", method=[]), "b": start(seed=1, out="y", measure={"runs": 3})}) == []


def test_of_known_weights_their_content_counts() -> None:
    other = {"weights": "b.safetensors"}
    assert mixtures({"a": start("5eed" * 16), "b": start("5eed" * 16, **other)}) == []
    (found,) = mixtures({"a": start("5eed" * 16), "b": start("0dd" * 21 + "0")})
    assert str(found) == "a and b differ in weights (5eed5eed5eed and 0dd0dd0dd0dd)"
    assert mixtures({"a": start("5eed" * 16), "b": start(None)}) == []
    assert mixtures({"a": Start({}), "b": start()}) == []


@pytest.mark.parametrize("change", [{"model": "nets:other"}, {"model_args": {"width": 8, "dropout": 0.5}}])
def test_networks_of_the_same_weights_may_differ_in_how_they_train(change: dict[str, Any]) -> None:
    same = {"a": start("1"), "b": start("1", **change)}
    (found,) = mixtures(same)
    assert found.rule == "retraining"
    assert found.key in ("model", "model_args.dropout")
    assert level(same, [0, 0]) == "S3.1"
    assert [one.rule for one in mixtures({"a": start("1"), "b": start("2", **change)})] == ["base"]


def test_levels_of_comparison() -> None:
    same, other = {"a": start("1"), "b": start("1")}, {"a": start("1"), "b": start("2")}
    assert level(same, [0, 0]) == "S4.2"
    assert level(same, [0, 500]) == "S3.2"
    assert level({"a": start(), "b": start(finetune={"epochs": 2, "schedule": "constant"})}, [0, 0]) == "S3.1"
    assert level({"a": start(), "b": start(finetune={"epochs": 3})}, [0, 0]) == "S2"
    assert level(other, [0, 0]) == "S1"


def test_what_varies_is_told_in_words() -> None:
    found = varying("retraining", {"a": start(), "b": start(finetune={"epochs": 3, "schedule": "constant"})})
    assert found == {
        "a": "finetune.schedule cosine, finetune.epochs 2", "b": "finetune.schedule constant, finetune.epochs 3"
    }  # fmt: skip


def test_a_mixture_is_refused_unless_it_is_asked_for() -> None:
    recipe = {**SETTINGS, "method": "magnitude"}
    asked = {"recipe": recipe, "methods": ["magnitude"], "targets": [{"macs": 0.5}], "out": "o"}
    starts = {"a": start(), "b": start(finetune={"epochs": 3}, data="nets:more")}
    with pytest.raises(BadInput, match=r"a and b differ in data \(nets:data and nets:more\); a and b .*epochs"):
        require_fair(Sweep.read(asked), starts)
    with pytest.raises(BadInput, match=r"if they are mixed on purpose, say why, .* mixing: \{data: 'why'\}"):
        require_fair(Sweep.read({**asked, "mixing": {"retraining": "budgets"}}), starts)
    require_fair(Sweep.read({**asked, "mixing": {"retraining": "budgets", "data": "two sets"}}), starts)


@pytest.mark.parametrize(
    ("over", "rule"),
    [
        ({"model_args.width": [8, 4]}, "base"),
        ({"finetune.epochs": [0, 1]}, "retraining"),
        ({"evaluate_args.sign": [1, -1]}, "evaluation"),
        ({"inputs": [[[2, 1, 6, 6]], [[4, 1, 6, 6]]]}, "measuring"),
    ],
)
def test_a_sweep_is_judged_before_anything_is_built(tmp_path: Path, over: dict[str, Any], rule: str) -> None:
    path = planted(tmp_path, {"finetune": {"epochs": 0}}, over=over)
    with pytest.raises(BadInput, match=rf"cannot stand in one table: .*mixing: \{{{rule}: 'why'\}}"):
        checked(Sweep.load(path))
    assert len(checked(Sweep.load(path, [f"mixing={{{rule}: on purpose}}"]))) == 2


def test_two_files_of_the_same_bytes_are_one_start(tmp_path: Path) -> None:
    path = planted(tmp_path, over={"weights": ["a.safetensors", "b.safetensors"]})
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_bytes(b"the same")
    assert len(checked(Sweep.load(path))) == 2
    (tmp_path / "b.safetensors").write_bytes(b"another")
    with pytest.raises(BadInput, match=r"differ in weights .*mixing: \{base: 'why'\}"):
        checked(Sweep.load(path))
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(BadInput, match=r"there is no file .*b\.safetensors"):
        checked(Sweep.load(path))
