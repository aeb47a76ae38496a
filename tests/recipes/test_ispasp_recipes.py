"""The recipes of i-SpaSP's networks: the paper's multiply-adds and settings, and that each runs on tiny data."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import niwaki as nk
from niwaki.cli import main
from niwaki.methods import build
from niwaki.recipes import Recipe
from niwaki.recipes.ingredients import build_model
from niwaki.report import Report
from niwaki.targets import Ratio
from tests.recipes.shipped import PICTURES, RECIPES, as_options, dense_weights
from tests.vision.jobs import data

pytestmark = pytest.mark.usefixtures("own_data")

FOLDER = RECIPES / "ispasp"
NAMES = ("resnet34-imagenet", "mobilenetv2-imagenet")
MACS = {
    ("resnet34-imagenet", "2690M"): 2.69e9,
    ("resnet34-imagenet", "2130M"): 2.13e9,
    ("mobilenetv2-imagenet", "260M"): 260e6,
    ("mobilenetv2-imagenet", "242M"): 242e6,
    ("mobilenetv2-imagenet", "220M"): 220e6,
}


def load(name: str, *changes: str, fast: bool = False) -> Recipe:
    return Recipe.load(FOLDER / f"{name}.yaml", changes, fast)


def norm_elements(model: nn.Module, inputs: torch.Tensor) -> int:
    """What batch norms give, elements of one sample: the paper counts an operation for each."""
    counted: list[int] = []
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda module, given, out: counted.append(out.numel())) for norm in norms]
    with torch.no_grad():
        model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return sum(counted)


def test_these_are_all() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)
    assert {(name, choice.label) for name in NAMES for choice in load(name).methods} == set(MACS)


@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_are_the_papers(name: str) -> None:
    recipe = load(name)
    model, inputs = build_model(recipe.model, recipe.model_args), torch.zeros(recipe.inputs[0])
    graph = nk.trace(model, inputs)
    names = [group.name for group in graph.groups]
    for choice in recipe.methods:
        removed = choice.settings["target"]["ratio"]
        assert all(any(fnmatchcase(group, pattern) for group in names) for pattern in removed), choice.label
        small = nk.cut(model, nk.plan(graph, target=Ratio(removed)))
        macs = nk.measure.macs(small, inputs) + norm_elements(small, inputs)
        assert macs == pytest.approx(MACS[name, choice.label], rel=0.007), choice.label


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_out_is_the_papers_and_the_codes(name: str) -> None:
    recipe = load(name)
    for choice in recipe.methods:
        settings = {key: value for key, value in choice.settings.items() if key != "target"}
        steps = 1_281_167 // recipe.data_args["size"]
        asked = {"iters": 20, "samples": 1280, "statistics": "batch", "mass": "signed", "tune": steps}
        assert settings == asked
    assert recipe.optimizer is not None
    decay = 5e-4 if name.startswith("resnet") else 4e-5
    rates = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": decay}
    assert recipe.optimizer.settings == rates
    assert recipe.optimizer.decay == "matrices"
    assert recipe.finetune is not None
    assert (recipe.finetune.epochs, recipe.finetune.schedule) == (90, "cosine")


@pytest.mark.parametrize(("name", "label", "fast"), [(NAMES[0], "2690M", True), (NAMES[1], "260M", False)])
def test_each_runs_to_its_end(name: str, label: str, fast: bool, tmp_path: Path) -> None:
    data.pictures(tmp_path)
    changes = (*PICTURES, "finetune.epochs=1", "measure.runs=2")
    recipe = load(name, *changes, fast=fast)
    weights = dense_weights(recipe, tmp_path / "dense.safetensors")
    (choice,) = (choice for choice in recipe.methods if choice.label == label)
    assert build(choice.name, choice.settings).takes_time is not fast
    quick = choice.to_json() | {"samples": 8, "iters": 3} | ({} if fast else {"tune": 1})
    words = as_options(*changes, f"method={json.dumps([quick])}", f"weights={weights}")
    done = CliRunner().invoke(main, ["prune", str(FOLDER / f"{name}.yaml"), *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    dense, pruned = Report.load(tmp_path / "out").entries
    assert pruned.macs < dense.macs
    assert json.loads((tmp_path / "out" / pruned.name / "certificate.json").read_text())["holds"]


def test_smoothed_labels_by_hand() -> None:
    """Two classes, logits (ln 3, 0), label 0: of the label 0.95 is class 0's, with -ln 3/4, and 0.05 class 1's."""
    from math import log

    from niwaki.vision.jobs.training import smoothed_loss

    images, labels = torch.zeros(3, 3, 2, 2), torch.zeros(3, dtype=torch.int64)
    found = smoothed_loss(lambda x: torch.tensor([[log(3), 0.0]]).expand(len(x), 2), (images, labels))
    assert found.item() == pytest.approx(-0.95 * log(3 / 4) - 0.05 * log(1 / 4))
