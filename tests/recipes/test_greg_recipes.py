"""The recipes of GReg's networks: the paper's widths and settings, and that each runs to its end on tiny data."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import niwaki as nk
from niwaki.bench.greg.rows import ROWS
from niwaki.cli import main
from niwaki.methods import build
from niwaki.recipes import Recipe
from niwaki.recipes.ingredients import build_model
from niwaki.report import Report
from niwaki.targets import Ratio
from tests.recipes.shipped import PICTURES, RECIPES, as_options, dense_weights
from tests.vision.jobs import data

pytestmark = pytest.mark.usefixtures("own_data")

FOLDER = RECIPES / "greg"
NAMES = ("resnet56-cifar10", "vgg19-cifar100", "resnet34-imagenet", "resnet50-imagenet")
SPEEDUPS = dict(zip(NAMES, (2.55, 8.84, 1.32, 2.31), strict=True))


def load(name: str, *changes: str, fast: bool = False) -> Recipe:
    return Recipe.load(FOLDER / f"{name}.yaml", changes, fast)


def test_these_are_all() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_patterns_are_of_groups_that_there_are_and_the_speedup_is_the_papers(name: str) -> None:
    recipe = load(name)
    model = build_model(recipe.model, recipe.model_args)
    inputs = torch.zeros(recipe.inputs[0])
    graph = nk.trace(model, inputs)
    methods = [build(choice.name, choice.settings) for choice in recipe.methods]
    assert [method.name for method in methods] == ["magnitude", "greg1", "greg2"]
    targets = [build("magnitude", {"target": choice.settings["target"]}) for choice in recipe.methods]
    assert targets[0] == targets[1] == targets[2]
    removed = recipe.methods[0].settings["target"]["ratio"]
    names = [group.name for group in graph.groups]
    for pattern in removed:
        assert any(fnmatchcase(group, pattern) for group in names), pattern
    small = nk.cut(model, nk.plan(graph, target=Ratio(removed)))
    speedup = nk.measure.macs(model, inputs) / nk.measure.macs(small, inputs)
    assert speedup == pytest.approx(SPEEDUPS[name], rel=0.03)


def test_cifar_is_pruned_as_in_the_comparison() -> None:
    rows = {row.name: row.removed for row in ROWS}
    assert load("resnet56-cifar10").methods[1].settings["target"]["ratio"] == rows["resnet56-2.55x"]
    assert load("vgg19-cifar100").methods[1].settings["target"]["ratio"] == rows["vgg19-0.7"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_out_is_the_papers(name: str) -> None:
    recipe, image = load(name), "imagenet" in name
    greg1, greg2 = recipe.methods[1].settings, recipe.methods[2].settings
    paper = {"every": 5, "hold": 40_000} if image else {"every": 10, "hold": 5_000}
    target = {"target": greg1["target"]}
    assert build("greg1", greg1) == build("greg1", {**target, **paper})
    assert build("greg2", greg2) == build("greg2", {**target, **paper})
    assert recipe.optimizer is not None
    assert recipe.optimizer.settings == {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4 if image else 5e-4}
    assert recipe.finetune is not None
    assert recipe.finetune.epochs == (90 if image else 120)
    assert recipe.finetune.optimizer is not None
    assert recipe.finetune.optimizer.settings == {**recipe.optimizer.settings, "lr": 0.01}


@pytest.mark.parametrize("name", NAMES)
def test_fast_is_shorter_in_pressing_and_in_retraining(name: str) -> None:
    slow, fast = load(name), load(name, fast=True)
    for before, after in zip(slow.methods[1:], fast.methods[1:], strict=True):
        steps = [build(m.name, m.settings).body.longest or 0 for m in (before, after)]
        assert 0 < steps[1] < steps[0] / 10
    assert slow.finetune is not None
    assert fast.finetune is not None
    assert fast.finetune.epochs < slow.finetune.epochs
    assert fast.finetune.schedule == slow.finetune.schedule
    assert all(change.old is not None for change in fast.shortened)


SMALL = {  # its data, and what makes it tiny
    "resnet56-cifar10": (data.cifar10, ("model_args.depth=8", "data_args.size=25", "finetune.data_args.size=25")),
    "vgg19-cifar100": (data.cifar100, ("data_args.size=50",)),
    "resnet34-imagenet": (data.pictures, ("finetune.data_args.size=4",)),
    "resnet50-imagenet": (data.pictures, ("finetune.data_args.size=6",)),
}
QUICK = {"grow": 0.5, "every": 1, "hold": 1}


def quick(recipe: Recipe, names: tuple[str, ...]) -> str:
    """These of its methods, with hasty settings, as a change of the recipe."""
    hasty = {"magnitude": {}, "greg1": QUICK, "greg2": {**QUICK, "pick_grow": 0.005}}
    chosen = [choice.to_json() | hasty[choice.name] for choice in recipe.methods if choice.name in names]
    return f"method={json.dumps(chosen)}"


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("resnet56-cifar10", ("magnitude", "greg1", "greg2")),
        ("vgg19-cifar100", ("greg1",)),
        ("resnet34-imagenet", ("greg2",)),
        ("resnet50-imagenet", ("greg1",)),
    ],
)
def test_each_runs_to_its_end(name: str, methods: tuple[str, ...], tmp_path: Path) -> None:
    make, changes = SMALL[name]
    make(tmp_path)
    changes = (*(PICTURES if "imagenet" in name else ()), *changes, "finetune.epochs=1", "measure.runs=2")
    recipe = load(name, *changes)
    weights = dense_weights(recipe, tmp_path / "dense.safetensors")
    words = as_options(*changes, quick(recipe, methods), f"weights={weights}")
    path, out = FOLDER / f"{name}.yaml", tmp_path / "out"
    done = CliRunner().invoke(main, ["prune", str(path), "--fast", *words, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "fast: " in done.output
    assert "method.greg1.grow 0.0001 → 0.00" in done.output
    report = Report.load(out)
    dense, *pruned = report.entries
    assert [entry.name for entry in pruned] == list(methods)
    for entry in pruned:
        assert entry.macs == pruned[0].macs < dense.macs
        assert set(entry.seconds) == {"prune", "finetune", "certify"}
        assert entry.accuracy is not None
        certificate = json.loads((out / entry.name / "certificate.json").read_text())
        assert [check["name"] for check in certificate["checks"]] == ["cut", "cut", "reloaded"]
        assert certificate["holds"]
        assert (out / entry.name / "model.safetensors").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_are_told_in_a_sentence(name: str) -> None:
    done = CliRunner().invoke(main, ["prune", str(FOLDER / f"{name}.yaml"), "--set", "model_args.classes=2"])
    assert done.exit_code == 2
    last = done.output.splitlines()[-1]
    assert last.startswith("niwaki: weights: there is no file ")
    assert last.endswith("put it there, or name yours with --set weights=FILE")


def test_missing_data_is_told_in_a_sentence(tmp_path: Path) -> None:
    weights = dense_weights(load("resnet56-cifar10", "model_args.depth=8"), tmp_path / "dense.safetensors")
    words = [str(FOLDER / "resnet56-cifar10.yaml"), *as_options("model_args.depth=8", f"weights={weights}")]
    done = CliRunner().invoke(main, ["prune", *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert f"niwaki: There is no folder {tmp_path}/cifar10; put the data set there" in done.output.splitlines()[-1]


def refusal(*changes: str) -> str:
    words = [str(FOLDER / "resnet56-cifar10.yaml"), *as_options(*changes)]
    return CliRunner().invoke(main, ["prune", *words]).output.splitlines()[-1]


def test_arguments_that_a_function_has_not() -> None:
    assert "data_args: batches has no 'sise'; did you mean 'size'?" in refusal("data_args.sise=3")
    assert "finetune.data_args: batches has no 'sise'" in refusal("finetune.data_args.sise=3")
    assert "evaluate_args: accuracy has no 'nam'" in refusal("evaluate_args.nam=x")
    assert "data_args: the seed of the batches comes from the recipe's key seed" in refusal("data_args.seed=3")
    assert "data_args are given, but no function that takes them" in refusal(
        "data=null", "finetune=null", "method={name: magnitude, target: {ratio: 0.5}}"
    )
