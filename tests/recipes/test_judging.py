"""What evaluate measures: said by the function, shown by the report and by the card of the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.recipes import Recipe
from niwaki.recipes.judging import measure_of
from niwaki.recipes.progress import Teller
from niwaki.recipes.run import run
from tests.recipes.kitchen import project

NAMED = """

def f1(model, classes=2):
    return 0.5


f1.measure_name = lambda classes=2: f"F1 of {classes}"
"""


def judge(name: Any) -> Any:
    def evaluate(model: Any) -> float:
        return 0.5

    vars(evaluate)["measure_name"] = name
    return evaluate


def test_a_function_says_what_it_measures_or_measures_accuracy() -> None:
    assert measure_of(None, {}) == "accuracy"
    assert measure_of(lambda model: 0.5, {}) == "accuracy"
    assert measure_of(judge("F1"), {}) == "F1"
    assert measure_of(judge(lambda task: f"F1 of {task}"), {"task": "mrpc"}) == "F1 of mrpc"
    for nothing in ("", 3, lambda: None):
        with pytest.raises(BadInput, match="its measure_name must be what it measures, such as 'F1'"):
            measure_of(judge(nothing), {})


def test_report_page_and_card_have_the_name(tmp_path: Path) -> None:
    path, _ = project(tmp_path, NAMED, evaluate="@f1", evaluate_args={"classes": 3})
    recipe = Recipe.load(path)
    for resume in (False, True):
        if resume:
            without_names(Path(recipe.out) / "report.json")
        done = run(recipe, teller=Teller(quiet=True), resume=resume)
        assert [entry.measure for entry in done.report.entries] == ["F1 of 3", "F1 of 3"]
        assert done.page.read_text(encoding="utf-8").count("F1 of 3</th>") == 2  # all networks, and what they cost
        card = (Path(recipe.out) / "magnitude" / "README.md").read_text(encoding="utf-8")
        assert "| F1 of 3 | 50.0% | 50.0% |" in card
        told = json.loads((Path(recipe.out) / "magnitude" / "measurements.json").read_text(encoding="utf-8"))
        assert [told[when]["accuracy_is"] for when in ("before", "after")] == ["F1 of 3", "F1 of 3"]


def without_names(path: Path) -> None:
    """As a release wrote it in which measures had none."""
    report = json.loads(path.read_text(encoding="utf-8"))
    for entry in report["entries"]:
        del entry["measure"]
    path.write_text(json.dumps(report), encoding="utf-8")


def test_the_card_of_an_accuracy_says_nothing_of_names(tmp_path: Path) -> None:
    recipe = Recipe.load(project(tmp_path, evaluate="@accuracy")[0])
    run(recipe, teller=Teller(quiet=True))
    card = (Path(recipe.out) / "magnitude" / "README.md").read_text(encoding="utf-8")
    assert "| accuracy | 50.0% | 50.0% |" in card
    assert "accuracy_is" not in (Path(recipe.out) / "magnitude" / "measurements.json").read_text(encoding="utf-8")
