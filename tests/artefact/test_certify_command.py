"""``niwaki certify FOLDER``: what it prints, how it ends, and what it takes for a model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

import niwaki as nk
from niwaki.cli import main
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import build_model
from tests.artefact.gardens import stamp_again
from tests.recipes.kitchen import project


def certify(*words: object) -> Result:
    return CliRunner().invoke(main, ["certify", *map(str, words)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a method that a recipe made, and the recipe's module."""
    place = tmp_path_factory.mktemp("recipe")
    path, module = project(place, model_args={"width": 6}, measure={"runs": 2})
    result = CliRunner().invoke(main, ["prune", str(path)])
    assert result.exit_code == 0, result.output
    sys.modules.pop(module)
    return place / "out" / "magnitude", module


@pytest.fixture(autouse=True)
def elsewhere(made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the recipe's module."""
    monkeypatch.chdir(made[0].parents[1])


def test_a_recipe_delivers_without_more_keys(made: tuple[Path, str]) -> None:
    folder, module = made
    told = json.loads((folder / "measurements.json").read_text())
    assert [row["runtime"] for row in told["after"]["latency"]] == ["PyTorch"]
    assert told["before"]["latency"][0]["runs"] == 2
    assert told["before"]["macs"] > told["after"]["macs"]
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert recipe["model"] == f"{module}:build"
    card = (folder / "README.md").read_text()
    assert "niwaki prune " in card
    assert f"from {module} import build" in card
    assert "build(width=6)" in card
    assert "time in PyTorch" in card


def test_the_function_of_the_recipe_is_named_and_not_called(made: tuple[Path, str]) -> None:
    folder, module = made
    result = certify(folder)
    assert result.exit_code == 1
    assert f"the recipe named {module}:build: give --model {module}:build" in result.output.replace("The r", "the r")
    assert "NOT ENOUGH COULD BE CHECKED" in result.output
    assert module not in sys.modules


def test_it_ends_with_0_where_answers_were_compared(made: tuple[Path, str]) -> None:
    folder, module = made
    for words in (["--model", f"{module}:build"], ["--trust-recipe"]):  # both with the recipe's arguments
        result = certify(folder, *words)
        assert result.exit_code == 0, result.output
        assert "model.safetensors: answers 3 examples" in result.output
        assert result.output.splitlines()[-1].startswith("The folder holds (manifest ")


def test_json_is_all_that_it_prints(made: tuple[Path, str]) -> None:
    folder, module = made
    result = certify(folder, "--model", f"{module}:build", "-i", "[[2, 1, 6, 6]]", "--json")
    told = json.loads(result.output)
    assert told["holds"] is True
    assert {"hashes", "fit", "numbers"} <= {each["kind"] for each in told["findings"]}


def test_dense_weights_make_the_certificate_again(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, module = made
    with importing_from(Path.cwd()):
        dense = build_model(f"{module}:build", {"width": 6})
    save_file(dense.state_dict(), str(tmp_path / "dense.safetensors"))
    for words in (
        ["--model", f"{module}:build", "--dense", tmp_path / "dense.safetensors"],
        ["--dense", f"{module}:build"],
    ):
        result = certify(folder, *words)
        assert result.exit_code == 0, result.output
        assert "holds        cut = masked, gradient" in result.output


def test_the_dense_folder_may_be_in_shards(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 32}
    dense = BertModel(BertConfig(vocab_size=40, **sizes)).eval()
    dense.save_pretrained(tmp_path / "dense", max_shard_size="6KB")
    assert not (tmp_path / "dense" / "model.safetensors").exists()
    x = {"input_ids": torch.arange(12).view(2, 6)}
    small = nk.cut(dense, nk.plan(nk.trace(dense, x), target=nk.Ratio(0.5)))
    nk.deliver(small, tmp_path / "small", inputs=x)
    result = certify(tmp_path / "small", "--dense", tmp_path / "dense")
    assert result.exit_code == 0, result.output
    assert "holds        cut = masked, gradient" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dense", "x.safetensors"], "--dense FILE holds weights alone"),
        (["--dense", "nowhere"], "--dense must be module:function"),
        (["--model", "build"], "--model must be module:function"),
        (["-i", "[[1, 3]]"], "--inputs are what the model is run on"),
        (["--model", "no_such_module:build"], "--model: no module is called 'no_such_module'"),
        (["--model", "@biuld"], "has no 'biuld'; did you mean 'build'?"),
        (["--model", "gc:enable"], "--model: gc:enable must return a torch.nn.Module, not NoneType"),
        (["--dense", "@biuld"], "has no 'biuld'; did you mean 'build'?"),
        (["--dense", "gc:enable"], "--dense: gc:enable must return a torch.nn.Module, not NoneType"),
        (["--model", "@build", "--dense", "x.safetensors"], "--dense: there is no file x.safetensors"),
        (["--model", "@build", "--dense", "empty"], "--dense: the folder empty is none of transformers: there is no "),
        (["--model", "@build", "--dense", "text.safetensors"], "--dense: text.safetensors is not a readable"),
        (["--model", "@build", "--dense", "dense.pt"], "--dense: dense.pt is a pickle"),
        (["--model", "@build", "-i", "[[2, 4, 16, 16]]"], "--inputs: Sequential does not take them: "),
    ],
)
def test_slips_are_one_line(words: list[str], said: str, made: tuple[Path, str]) -> None:
    """They are the user's, and no fault of the folder."""
    Path("empty").mkdir(exist_ok=True)
    Path("text.safetensors").write_text("text")
    Path("dense.pt").write_bytes(b"")
    result = certify(made[0], *(word.replace("@", f"{made[1]}:") for word in words))
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") == 1
    assert result.output.startswith("niwaki: --")
    assert said in result.output


def test_inputs_that_a_broken_model_does_not_take_are_not_blamed(made: tuple[Path, str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made[0], tmp_path / "small"))
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, str(folder / "model.safetensors"))
    stamp_again(folder, "model.safetensors")
    result = certify(folder, "--model", f"{made[1]}:build", "-i", "[[2, 4, 16, 16]]")
    assert result.exit_code == 1
    assert "answers 3 examples OTHERWISE THAN in" in result.output
    assert "Sequential does not take them" in result.output


def test_the_config_of_the_folder_is_no_slip_of_the_user(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 32}
    dense, x = BertModel(BertConfig(vocab_size=40, **sizes)).eval(), {"input_ids": torch.arange(12).view(2, 6)}
    small = nk.cut(dense, nk.plan(nk.trace(dense, x), target=nk.Ratio(0.5)))
    folder = nk.deliver(small, tmp_path / "small", inputs=x)
    save_file(dense.state_dict(), str(tmp_path / "dense.safetensors"))
    (folder / "config.json").write_text("{")
    result = certify(folder, "--dense", tmp_path / "dense.safetensors")
    assert result.exit_code == 1, result.output
    assert "THE FOLDER DOES NOT HOLD" in result.output


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    result = certify(tmp_path)
    assert result.exit_code == 2
    assert result.output.startswith("niwaki: there is no manifest.json in ")


def test_modules_of_the_folder_itself_are_never_imported(
    made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = made
    (folder / "hostile_module.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    result = certify(".", "--model", "hostile_module:build")
    (folder / "hostile_module.py").unlink()
    assert "no module is called 'hostile_module'" in result.output
