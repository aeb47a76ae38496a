"""What a recipe names is found, checked early, and blamed by its own line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from niwaki.errors import BadInput, BrokenFile, MissingExtra, UnreachableTarget, UntraceableModel
from niwaki.recipes import Recipe
from niwaki.recipes.borrowed import find, importing_from
from niwaki.recipes.ingredients import Ingredients, fill, gather, model_and_inputs
from niwaki.recipes.progress import Teller
from niwaki.recipes.run import run
from tests.recipes.kitchen import GREG, TRAINED, project


def gathered(path: Path) -> Ingredients:
    recipe = Recipe.load(path)
    with importing_from(recipe.folder):
        return gather(recipe)


def refusal(path: Path, kind: type[Exception] = BadInput) -> str:
    with pytest.raises(kind) as caught:
        run(Recipe.load(path), teller=Teller(quiet=True))
    return str(caught.value)


def test_code_beside_the_recipe_is_found_and_the_path_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = project(tmp_path / "there", model_args={"width": 5})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = list(sys.path)
    found = gathered(path)
    assert found.dense[0].out_channels == 5  # type: ignore[index]
    assert sys.path == before


def test_code_in_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, module = project(tmp_path)
    away = tmp_path / "away" / "recipe.yaml"
    away.parent.mkdir()
    path.rename(away)
    monkeypatch.chdir(tmp_path)
    assert type(gathered(away).dense).__name__ == "Sequential"
    assert module in sys.modules


def test_shapes_make_seeded_inputs_and_a_function_gives_its_own(tmp_path: Path) -> None:
    path, _ = project(tmp_path, inputs=[[2, 1, 6, 6], [3]])
    one, two = gathered(path).inputs, gathered(path).inputs
    assert [t.shape for t in one] == [(2, 1, 6, 6), (3,)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    path, _ = project(tmp_path, inputs="@inputs")
    assert torch.equal(gathered(path).inputs, torch.zeros(2, 1, 6, 6))  # type: ignore[arg-type]


def test_the_seed_fixes_the_model(tmp_path: Path) -> None:
    path, _ = project(tmp_path)
    one, two = gathered(path).dense, gathered(path).dense
    assert torch.equal(one[0].weight, two[0].weight)  # type: ignore[index]


def test_weights_are_loaded(tmp_path: Path) -> None:
    path, _ = project(tmp_path, weights="dense.safetensors")
    state = {name: torch.ones_like(t) for name, t in gathered(project(tmp_path / "b")[0]).dense.state_dict().items()}
    save_file(state, str(tmp_path / "dense.safetensors"))
    assert gathered(path).dense[0].weight.eq(1).all()  # type: ignore[index]


def test_weights_refused(tmp_path: Path) -> None:
    assert "weights: there is no file " in refusal(project(tmp_path, weights="dense.safetensors")[0])
    (tmp_path / "dense.pth").write_bytes(b"cos\nsystem\n")
    said = refusal(project(tmp_path, weights="dense.pth")[0])
    assert "dense.pth is a pickle, which can run code when it is read." in said
    assert "save_file(torch.load('dense.pth', weights_only=True), 'dense.safetensors')" in said
    (tmp_path / "torn.safetensors").write_bytes(b"\x10")
    assert "not a readable safetensors file" in refusal(project(tmp_path, weights="torn.safetensors")[0], BrokenFile)
    (tmp_path / "old.th").write_bytes(b"neither")
    told = refusal(project(tmp_path, weights="old.th")[0], BrokenFile)
    assert ".th is the form of torch.save; make the other of it once: safetensors.torch.save_file(" in told
    save_file({"x": torch.ones(1)}, str(tmp_path / "other.safetensors"))
    said = refusal(project(tmp_path, weights="other.safetensors")[0])
    assert "other.safetensors does not fit Sequential: it lacks '0.bias'" in said


class Tied(nn.Module):
    """Two names of one tensor, as of words in and out."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.inner, self.words = nn.Linear(2, 2), nn.Embedding(3, 2)
        self.out = nn.Linear(2, 3, bias=False)
        self.out.weight = self.words.weight
        for p in self.parameters():
            nn.init.constant_(p, value)


def in_shards(folder: Path, *shards: dict[str, torch.Tensor]) -> Path:
    """A folder as transformers writes it."""
    folder.mkdir()
    where = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number}-of-{len(shards)}.safetensors"
        save_file(shard, str(folder / name))
        where |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def test_shards_are_loaded_and_must_hold_all_and_no_more(tmp_path: Path) -> None:
    inner = {name: t for name, t in Tied(2.0).state_dict().items() if name.startswith("inner")}
    shared = torch.full((3, 2), 2.0)
    for number, name in enumerate(("words.weight", "out.weight")):  # of a shared tensor either name is enough
        fill(model := Tied(1.0), in_shards(tmp_path / f"whole{number}", {name: shared}, inner))
        assert all(bool(p.eq(2).all()) for p in model.parameters())
    with pytest.raises(BadInput, match=r"it lacks 'inner\.bias', 'inner\.weight'"):
        fill(Tied(1.0), in_shards(tmp_path / "less", {"words.weight": shared}))
    with pytest.raises(BadInput, match="the model has no 'other'"):
        fill(Tied(1.0), in_shards(tmp_path / "more", {"words.weight": shared}, {**inner, "other": shared}))
    with pytest.raises(BrokenFile, match="no weights at"):
        fill(Tied(1.0), tmp_path)


BAD = """
def broken():
    raise KeyError("soil")


def number():
    return 3


def blunt(model, batch):
    return 1.0


def nan(model, batch):
    return loss(model, batch) * float("nan")


def once():
    yield from batches()


def percent(model):
    return 93.0


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x)
"""
TUNED = {**TRAINED, "finetune": {"epochs": 2}}
CASES: list[tuple[dict[str, Any], str]] = [
    ({"model": "no_such_package.nets:build"}, "model: no module is called 'no_such_package'. Looked in "),
    ({"model": "@biuld"}, "has no 'biuld'; did you mean 'build'?"),
    ({"model": "@WEIGHT"}, "is float, not a function that can be called"),
    ({"model": "@number"}, "must return a torch.nn.Module, not int"),
    ({"model": "@broken"}, "model: broken failed: KeyError: 'soil' ("),
    ({"model_args": {"depth": 2}}, "model: build failed: TypeError"),
    ({"inputs": "@number"}, "inputs must be a tensor, a tuple"),
    ({"method": "magnitud"}, "no method is called 'magnitud'; did you mean 'magnitude'?"),
    ({"method": {**GREG, "grew": 1}}, "method 'greg1' has no 'grew'; did you mean 'grow'?"),
    (
        {"method": GREG},
        "method 'greg1' prunes while the model trains: it needs 'data', 'loss', 'optimizer' in the recipe",
    ),
    (
        {"method": {"name": "ispasp", "target": {"ratio": 0.5}}},
        "method 'ispasp' looks at data: it needs 'data' in the recipe",
    ),
    (
        {"method": {"name": "michel", "target": {"ratio": 0.5}}, "data": "@batches"},
        "method 'michel' looks at data: it needs 'loss' in the recipe",
    ),
    ({"finetune": {"epochs": 1}}, "finetune needs 'data', 'loss', 'optimizer' in the recipe"),
    ({"optimizer": {"name": "SDG", "lr": 1}}, "torch.optim has no 'SDG'; did you mean 'SGD'?"),
    ({"optimizer": {"name": "SGD", "momentun": 0}}, "optimizer 'SGD' has no 'momentun'; did you mean 'momentum'?"),
    ({"optimizer": {"name": "SGD", "lr": -1}}, "optimizer 'SGD': Invalid learning rate: -1"),
    ({"optimizer": {"name": "LBFGS"}}, "optimizer 'LBFGS' cannot be stepped without more: "),
    ({"optimizer": {"name": "SparseAdam"}}, "optimizer 'SparseAdam' cannot be stepped without more: "),
    (
        {"optimizer": {"name": "AdamW", "betas": [0.9]}},
        "optimizer 'AdamW' cannot be made with {'betas': [0.9]}: IndexError",
    ),
    ({**TUNED, "data": "@number"}, "must give an iterable of batches, not int"),
    ({**TUNED, "data": "@once"}, "data gave no batches in epoch 2."),
    ({**TUNED, "loss": "@blunt"}, "loss must return one number as a tensor with a gradient, not float"),
    ({**TUNED, "loss": "@nan"}, "the loss is nan at step 0: train with a smaller learning rate"),
    ({"evaluate": "@percent"}, "evaluate must give a share from 0 to 1, not 93; divide per cents by 100"),
]


@pytest.mark.parametrize(("changes", "said"), CASES, ids=[said[:40] for _, said in CASES])
def test_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path, _ = project(tmp_path, BAD, **changes)
    assert said in refusal(path)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="a newer torch has it")
def test_an_optimizer_that_does_not_take_the_network_is_refused_before_the_work(tmp_path: Path) -> None:
    tuned = {**TRAINED, "finetune": {"epochs": 1, "optimizer": {"name": "Muon"}}}
    path, _ = project(tmp_path, **tuned)
    with pytest.raises(BadInput, match="optimizer 'Muon': Muon only supports 2D parameters"):
        gathered(path)
    assert not (tmp_path / "out").exists()


def test_weights_are_found_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    path, _ = project(tmp_path / "there", weights="~/dense.safetensors")
    dense = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1))
    save_file(dense.state_dict(), str(tmp_path / "home" / "dense.safetensors"))
    with pytest.raises(BadInput, match=r"dense\.safetensors does not fit"):  # found, and read
        gathered(path)


def test_user_lines_are_named(tmp_path: Path) -> None:
    path, module = project(tmp_path, BAD, model="@broken")
    line = (tmp_path / f"{module}.py").read_text().splitlines().index('    raise KeyError("soil")') + 1
    assert f"{module}.py:{line})" in refusal(path)


def test_a_module_that_fails_to_import_is_blamed_by_its_line(tmp_path: Path) -> None:
    path, module = project(tmp_path, "\nimport no_such_package\n")
    said = refusal(path)
    assert f"model: {module} could not be imported: ModuleNotFoundError: No module named 'no_such_package' (" in said
    path, module = project(tmp_path, "\ndef broken(:\n")
    assert "could not be imported: SyntaxError" in refusal(path)


def test_a_model_that_does_not_run_on_the_inputs(tmp_path: Path) -> None:
    said = refusal(project(tmp_path, BAD, model="@Odd", inputs=[[1, 4]])[0], UntraceableModel)
    assert "Odd could not be run on the inputs given" in said


def test_a_target_out_of_reach_says_what_could_be(tmp_path: Path) -> None:
    method = {"name": "magnitude", "target": {"macs": 0.001}}
    said = refusal(project(tmp_path, method=method)[0], UnreachableTarget)
    assert "the least that a legal plan leaves is" in said


def test_missing_extras_are_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = refusal(project(tmp_path, export="onnx", model="@nothing")[0], MissingExtra)
    assert said == "onnxscript is not installed. Install it with: pip install 'niwaki[onnx]'"


def test_find_walks_into_classes() -> None:
    assert find("model", "collections:OrderedDict.fromkeys")("ab") == {"a": None, "b": None}
    with pytest.raises(BadInput, match="OrderedDict has no 'fromkey'; did you mean 'fromkeys'"):
        find("model", "collections:OrderedDict.fromkey")


def test_explain_needs_no_data(tmp_path: Path) -> None:
    recipe = Recipe.load(project(tmp_path, data="@nothing")[0])
    with importing_from(recipe.folder):
        model, inputs = model_and_inputs(recipe)
    assert model(*inputs).shape == (2, 3)
