"""The section ``fast``: what it may say, that it comes before ``--set``, and that its changes are told and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from niwaki.cli import main
from niwaki.errors import BadInput
from niwaki.recipes import Recipe
from niwaki.recipes.fast import Change, quickened
from niwaki.report import Report
from tests.recipes.kitchen import GREG, TRAINED, project

METHODS = [{"name": "magnitude", "label": "L1", "target": {"ratio": 0.5}}, GREG]
FAST = {"method.greg1.grow": 0.5, "method.0.target": {"ratio": 0.25}, "finetune.epochs": 1, "measure.threads": 2}


def written(folder: Path, fast: Any = FAST) -> Path:
    finetune = {"epochs": 3, "schedule": {"step": ["1/2"]}}
    return project(folder, method=METHODS, finetune=finetune, fast=fast, **TRAINED)[0]


def refusal(folder: Path, fast: Any) -> str:
    with pytest.raises(BadInput) as caught:
        Recipe.load(written(folder, fast), fast=True)
    return str(caught.value)


def test_it_changes_nothing_unless_asked(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path))
    assert recipe == Recipe.load(written(tmp_path / "without", None), [f"out={tmp_path}/out", *_same(recipe)])
    assert recipe.shortened == ()


def _same(recipe: Recipe) -> list[str]:
    """Overrides that name the functions of that recipe."""
    return [f"{key}={getattr(recipe, key)}" for key in ("model", "data", "loss", "evaluate")]


def test_methods_go_by_number_label_or_name(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path), fast=True)
    assert recipe.methods[0].settings["target"] == {"ratio": 0.25}
    assert recipe.methods[1].settings == {**{k: v for k, v in GREG.items() if k != "name"}, "grow": 0.5}
    assert recipe.finetune is not None
    assert (recipe.finetune.epochs, recipe.measure.threads, recipe.measure.runs) == (1, 2, 0)
    again = Recipe.load(written(tmp_path, {"method.L1.target": {"macs": 0.5}}), fast=True)
    assert again.methods[0].settings["target"] == {"macs": 0.5}


def test_set_comes_after_it_and_knows_labels_too(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path), ["finetune.epochs=2", "method.L1.target.ratio=0.75"], fast=True)
    assert recipe.finetune is not None
    assert recipe.finetune.epochs == 2
    assert recipe.methods[0].settings["target"] == {"ratio": 0.75}


def test_what_it_changed_is_told_old_and_new(tmp_path: Path) -> None:
    told = [str(change) for change in Recipe.load(written(tmp_path), fast=True).shortened]
    assert told == [
        "finetune.epochs 3 → 1",
        "measure.threads default → 2",
        "method.0.target {'ratio': 0.5} → {'ratio': 0.25}",
        "method.greg1.grow 0.25 → 0.5",
    ]
    assert str(Change("a", 1e-4, 4e-3)) == "a 0.0001 → 0.004"


def test_the_recipe_that_was_read_stays_as_it_was() -> None:
    data = {"method": [dict(GREG)], "fast": {"method.greg1.grow": 0.5}}
    quickened(data, "x.yaml")
    assert data["method"] == [GREG]


@pytest.mark.parametrize("fast", [None, {}])
def test_a_recipe_without_it_is_told(tmp_path: Path, fast: Any) -> None:
    assert "recipe.yaml has no section 'fast' that would say what is shorter" in refusal(tmp_path, fast)


@pytest.mark.parametrize(
    ("fast", "said"),
    [
        ({"method.greg2.grow": 1}, "fast: method.greg2.grow: 'greg2' is not an item of a list of 2; count from 0, or"),
        ({"method.greg2.grow": 1}, "say L1 or greg1"),
        ({"method.2.grow": 1}, "'2' is not an item of a list of 2"),
        ({"seed": 2, "seed.x": 1}, "fast: seed.x: 'x' cannot be set inside 2"),
        ({"finetune.epoch": 1}, "finetune has no 'epoch'; did you mean 'epochs'?"),
        ({"out.x": 1}, "fast: out.x: 'x' cannot be set inside"),
        (["finetune.epochs"], "fast must be a mapping of keys to values"),
        ({1: 2}, "fast: keys must be words, not 1"),
    ],
)
def test_refused(tmp_path: Path, fast: Any, said: str) -> None:
    assert said in refusal(tmp_path, fast)


def test_two_methods_of_one_name_go_by_number(tmp_path: Path) -> None:
    path, _ = project(tmp_path, method=[GREG, GREG], fast={"method.greg1.grow": 1}, **TRAINED)
    with pytest.raises(BadInput, match="2 items of the list are called 'greg1'; count from 0"):
        Recipe.load(path, fast=True)


def test_it_is_checked_when_it_is_not_asked_for_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fast must be a mapping"):
        Recipe.load(written(tmp_path, 3))


def test_the_command_tells_one_line_and_reports_what_ran(tmp_path: Path) -> None:
    path = written(tmp_path)
    done = CliRunner().invoke(
        main, ["prune", str(path), "--fast", "--set", "finetune.epochs=0", "--set", "method.1.hold=1"]
    )
    assert done.exit_code == 0, done.output
    assert [line for line in done.output.splitlines() if line.startswith("fast: ")] == [
        "fast: finetune.epochs 3 → 1; measure.threads default → 2; "
        "method.0.target {'ratio': 0.5} → {'ratio': 0.25}; method.greg1.grow 0.25 → 0.5"
    ]
    report = Report.load(tmp_path / "out")
    assert report.settings["method"][1]["grow"] == 0.5
    assert report.settings["finetune"]["epochs"] == 0
    assert "fast" not in report.settings
    assert " --fast --set finetune.epochs=0" in (tmp_path / "out" / "report.html").read_text()


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["prune", str(written(tmp_path, None)), "--fast"])
    assert done.exit_code == 2
    assert "has no section 'fast'" in done.output.splitlines()[-1]


def test_the_recipe_in_the_document_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    plain, fast = (Recipe.load(tmp_path / "recipe.yaml", fast=fast) for fast in (False, True))
    assert plain.finetune is not None
    assert fast.finetune is not None
    assert (plain.finetune.epochs, fast.finetune.epochs) == (20, 2)
    assert (plain.data_args, plain.finetune.data_args) == ({"size": 256}, {"size": 128})
    assert [m.settings.get("grow") for m in (*plain.methods, *fast.methods)] == [None, 1e-3, None, 1e-2]
    assert Recipe.read(fast.to_json()) == fast


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("fast.finetune.epochs=1", "set the key itself: --set finetune.epochs=1"),
        ("fast={finetune.epochs: 1}", "set the key itself: --set KEY.KEY=VALUE"),
    ],
)
@pytest.mark.parametrize("fast", [False, True])
def test_changes_do_not_reach_into_it(tmp_path: Path, change: str, said: str, fast: bool) -> None:
    with pytest.raises(BadInput, match="the section fast is read before any --set") as caught:
        Recipe.load(written(tmp_path), [change], fast=fast)
    assert said in str(caught.value)
