"""Reading a recipe: everything that can be said comes back, and everything that cannot be meant is told where."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.recipes import Finetune, Measure, MethodChoice, OptimizerChoice, Recipe
from niwaki.recipes.reading import at

FULL = """
model: nets:build
model_args: {width: 8}
weights: dense.safetensors
inputs: [[1, 3, 32, 32], [1, 4]]
data: train:batches
loss: train:loss
evaluate: train:accuracy
method:
  - {name: greg1, target: {macs: 0.33, round_to: 8}, grow: 1e-3, every: 2, hold: 200}
  - magnitude
optimizer: {name: SGD, lr: 0.001, momentum: 0.9}
finetune: {epochs: 2, optimizer: {name: Adam, lr: 1E-2}, schedule: constant}
seed: 3
out: runs/x
export: onnx
measure: {runtimes: [pytorch, onnxruntime], threads: 2, runs: 5}
"""
SMALL: dict[str, Any] = {"model": "nets:build", "inputs": "nets:inputs", "method": "magnitude", "out": "x"}


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def refusal(data: Any) -> str:
    with pytest.raises(BadInput) as caught:
        Recipe.read(data)
    return str(caught.value)


def test_every_key_is_read(tmp_path: Path) -> None:
    recipe = Recipe.load(write(tmp_path, FULL))
    assert recipe.inputs == ((1, 3, 32, 32), (1, 4))
    greg = {"target": {"macs": 0.33, "round_to": 8}, "grow": 0.001, "every": 2, "hold": 200}
    assert recipe.methods == (MethodChoice("greg1", greg, "greg1"), MethodChoice("magnitude", {}, "magnitude"))
    assert recipe.finetune == Finetune(2, OptimizerChoice("Adam", {"lr": 0.01}), "constant")
    assert recipe.measure == Measure(("pytorch", "onnxruntime"), 2, 5)
    assert (recipe.export, recipe.seed, recipe.weights) == (("onnx",), 3, "dense.safetensors")
    assert recipe.folder == tmp_path.resolve()


@pytest.mark.parametrize("data", [SMALL, {**SMALL, "seed": None, "weights": None}])
def test_defaults(data: dict[str, Any]) -> None:
    recipe = Recipe.read(data)
    assert (recipe.seed, recipe.finetune, recipe.export, recipe.measure) == (0, None, (), Measure())
    assert not recipe.wants_onnx


def test_round_trip(tmp_path: Path) -> None:
    for recipe in (Recipe.load(write(tmp_path, FULL)), Recipe.read(SMALL)):
        assert Recipe.read(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (False, False),
        (True, True),
        ("batch", "batch"),
        (["batch", "sequence"], ("batch", "sequence")),
        ([], False),
        ({"pixels": {2: "height", "3": "width"}}, {"pixels": {2: "height", 3: "width"}}),
    ],
)
def test_sizes_that_vary(said: Any, read: Any) -> None:
    """Also out of JSON, whose keys are words."""
    recipe = Recipe.read({**SMALL, "export": "onnx", "dynamic": said})
    assert recipe.dynamic == read
    assert Recipe.read(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_results_are_filed_under_distinct_names() -> None:
    labels = [
        {"name": "magnitude"},
        {"name": "magnitude", "label": "again"},
        {"name": "greg1", "label": "GReg / slow"},
        {"name": "dense"},
    ]
    recipe = Recipe.read({**SMALL, "method": labels})
    assert recipe.entries == ("magnitude", "magnitude-2", "greg1", "dense-2")


def test_folders_cannot_leave_the_out_folder() -> None:
    assert Recipe.read({**SMALL, "method": {"name": "../../x"}}).entries == ("x",)
    assert Recipe.read({**SMALL, "method": {"name": ".."}}).entries == ("method",)


def test_overrides(tmp_path: Path) -> None:
    changes = ["method.0.target={ratio: 0.5}", "method.0.grow=2e-3", "finetune.optimizer.lr=0.5", "out=y=z", "seed=7"]
    recipe = Recipe.load(write(tmp_path, FULL), changes)
    assert recipe.methods[0].settings["target"] == {"ratio": 0.5}
    assert recipe.methods[0].settings["grow"] == 0.002
    assert recipe.finetune is not None
    assert recipe.finetune.optimizer == OptimizerChoice("Adam", {"lr": 0.5})
    assert (recipe.out, recipe.seed) == ("y=z", 7)


def test_an_override_reaches_a_label_with_dots(tmp_path: Path) -> None:
    changes = ["method.1={name: magnitude, label: L1 0.5}", "method.L1 0.5.target.macs=0.5", "method.greg1.grow=1"]
    first, second = Recipe.load(write(tmp_path, FULL), changes).methods
    assert second == MethodChoice("magnitude", {"target": {"macs": 0.5}}, "L1 0.5")
    assert first.settings["grow"] == 1
    items = [{"label": "L1", "0.5": {"a": 1}}, {"label": "L1 0.5", "a": 2}, {"label": "L1 0.5.a", "b": 3}]
    assert at(items, ["L1 0", "5", "a", "b"], "here") == 3  # the longest
    assert at(items, ["L1 0", "5", "c"], "here") is None


def test_home_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    recipe = Recipe.read({**SMALL, "out": "~/runs", "weights": "~/dense.safetensors"})
    assert (recipe.out, recipe.weights) == ("/home/me/runs", "/home/me/dense.safetensors")
    assert Recipe.read({**SMALL, "out": "runs/~"}).out == "runs/~"


def test_an_override_makes_the_mappings_on_its_way(tmp_path: Path) -> None:
    path = write(tmp_path, "{model: a:b, inputs: a:c, method: magnitude, out: x}")
    assert Recipe.load(path, ["measure.runs=3"]).measure.runs == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "--set 'seed': write it as key.key=value"),
        ("seed.x=1", "'x' cannot be set inside 3, which has no keys"),
        ("method.2.grow=1", "'2' is not an item of a list of 2"),
        ("method.grow=1", "'grow' is not an item of a list of 2; count from 0"),
        ("sed=1", "did you mean 'seed'?"),
        ("seed=[1", "--set seed=[1, line 1"),
    ],
)
def test_overrides_refused(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        Recipe.load(write(tmp_path, FULL), [change])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modle": "a:b"}, "the recipe has no 'modle'; did you mean 'model'?"),
        ({"out": None}, "the recipe lacks 'out'. Its keys: model, "),
        (
            {"model": "nets.build"},
            "model must be module:function, for instance my_package.nets:build, not 'nets.build'",
        ),
        ({"data": "os:system('x')"}, "data must be module:function"),
        ({"inputs": [1, 3, 32, 32]}, "such as [[1, 3, 32, 32]]; found [1, 3, 32, 32]"),
        ({"inputs": [[1, 0]]}, "inputs must be module:function or a list of shapes"),
        ({"method": []}, "method is an empty list"),
        ({"method": {"target": {}}}, "method lacks 'name'"),
        ({"method": ["magnitude", 3]}, "method[1] must be a mapping of keys to values, not 3"),
        ({"optimizer": {"lr": 1}}, "optimizer lacks 'name'"),
        ({"finetune": {"epochs": 1, "shedule": "cosine"}}, "finetune has no 'shedule'; did you mean 'schedule'?"),
        ({"finetune": {}}, "finetune lacks 'epochs'"),
        ({"finetune": {"epochs": 1.5}}, "finetune.epochs must be a whole number of at least 0, not 1.5"),
        ({"finetune": {"epochs": 1, "schedule": "cosin"}}, "finetune.schedule has no 'cosin'; did you mean 'cosine'?"),
        ({"export": ["onx"]}, "export has no 'onx'; did you mean 'onnx'?"),
        ({"dynamic": "batch"}, "dynamic says which sizes may vary in exported files, and nothing is exported"),
        ({"export": "onnx", "dynamic": "bach"}, "dynamic has no 'bach'; did you mean 'batch'?"),
        ({"export": "onnx", "dynamic": ["batch", "seq"]}, "dynamic has no 'seq'"),
        ({"export": "onnx", "dynamic": 3}, "a mapping such as {pixels: {0: batch}}; found 3"),
        ({"export": "onnx", "dynamic": {0: "batch"}}, "names an input first, and then its dimensions: {input: {0:"),
        ({"export": "onnx", "dynamic": {"x": "batch"}}, "dynamic.x must be a mapping of dimensions to names of sizes"),
        (
            {"export": "onnx", "dynamic": {"x": {-1: "n"}}},
            "dynamic.x: a dimension must be a whole number of at least 0",
        ),
        ({"export": "onnx", "dynamic": {"x": {"one": "n"}}}, "dynamic.x: a dimension must be a whole number"),
        ({"export": "onnx", "dynamic": {"x": {1: "a b"}}}, "dynamic.x.1 must be a name for a size"),
        ({"measure": {"runtimes": "onnx"}}, "measure.runtimes has no 'onnx'; did you mean 'onnxruntime'?"),
        ({"measure": {"threads": 0}}, "measure.threads must be a whole number of at least 1, not 0"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": 10**23}, f"seed must be at most {2**63 - 1} (2**63 - 1), not {10**23}"),
        ({"out": 3}, "out must be text, not 3"),
        ({"model_args": {1: 2}}, "model_args: keys must be words, not 1"),
        ({"model_args": {"sizes": {1: 2}}}, "model_args.sizes must be such as JSON gives back unchanged"),
        (
            {"model_args": {"day": datetime.date(2026, 2, 3)}},
            "datetime.date(2026, 2, 3) is not; write keys and dates in",
        ),
        ({"model_args": {"scale": float("inf")}}, "model_args.scale is inf, and reports hold finite numbers only"),
        ({"evaluate_args": {"a": [0, {"b": float("nan")}]}}, "evaluate_args.a.1.b is nan"),
        ({"method": [{"name": "greg1", "ceiling": float("inf")}]}, "method.0.ceiling is inf"),
        (
            {"method": ["magnitude", "magnitude"]},
            "method: two are called 'magnitude', and no table could tell them apart",
        ),
        ({"method": ["random", {"name": "greg1", "label": "random"}]}, "method: two are called 'random'"),
        (
            {"finetune": {"epochs": 1, "optimizer": {"name": "SGD", "schedule": "linear"}}},
            "finetune.optimizer.schedule would do nothing: there the rate follows finetune.schedule. Write "
            "finetune.schedule: linear",
        ),
    ],
)
def test_refused(change: dict[str, Any], said: str) -> None:
    assert said in refusal({**SMALL, **change})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: a:b\nmethod: [x\nout: y\n", "recipe.yaml, line 3, column "),
        ("model: a:b\nmodel: c:d\n", "line 2, column 1: not YAML: the key 'model' stands here twice"),
        (
            "model: !!python/object/apply:os.getcwd []\n",
            "line 1, column 8: not YAML: could not determine a constructor",
        ),
        ("model: {[1, 2]: a}\n", "line 1, column 9: not YAML: a key must be a word, not a list or a mapping"),
        ("model:\n  ? {a: b}\n  : c\n", "line 2, column 5: not YAML: a key must be a word"),
        ("seed: 1\nday: 2026-02-30\n", "line 2, column 6: not YAML: '2026-02-30' cannot be read as timestamp"),
        ("seed: !!int word\n", "line 1, column 7: not YAML: 'word' cannot be read as int"),
        ("- a\n", "must be a mapping with the keys model, "),
        ("", "found None"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        Recipe.load(write(tmp_path, text))
    assert said in str(caught.value)


def test_a_missing_recipe_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    with pytest.raises(BadInput, match=r"no recipe at .*recipes\.yaml\. Recipes in .*: recipe\.yaml\."):
        Recipe.load(tmp_path / "recipes.yaml")
    with pytest.raises(BadInput, match="there is no folder"):
        Recipe.load(tmp_path / "nowhere" / "recipe.yaml")
