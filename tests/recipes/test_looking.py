"""Methods that look at data, from a recipe to certified folders."""

from __future__ import annotations

import json
from pathlib import Path

from niwaki.recipes import Recipe
from niwaki.recipes.progress import Teller
from niwaki.recipes.run import run
from tests.recipes.kitchen import TRAINED, project

TARGET = {"ratio": 0.5}


def test_a_recipe_of_methods_that_look_at_data(tmp_path: Path) -> None:
    methods = [
        {"name": "ispasp", "target": TARGET, "samples": 8, "compensate": True, "reestimate": True},
        {"name": "ispasp", "target": TARGET, "tune": 2, "label": "tuned"},
        {"name": "michel", "target": TARGET},
    ]
    path, _ = project(tmp_path, method=methods, **TRAINED)
    finished = run(Recipe.load(path), teller=Teller(quiet=True))
    assert finished.failing == ()
    params = {entry.name: entry.params for entry in finished.report.entries}
    assert params["ispasp"] == params["ispasp-2"] < params["dense"]
    assert params["michel"] < params["dense"]
    record = [json.loads(line) for line in (tmp_path / "out" / "ispasp" / "record.jsonl").read_text().splitlines()]
    assert [list(row["chosen"]) for row in record if row["event"] == "choose"] == [["0"], ["3"]]
