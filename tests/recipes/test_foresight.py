"""``niwaki forecast``: what is said of a recipe's networks before any training. Times are made up, but for one run."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from torch import nn

import niwaki as nk
from niwaki.cli import main
from niwaki.errors import BadInput
from niwaki.forecast import Forecast
from niwaki.graph import Graph
from niwaki.recipes import Recipe, aims, foresight
from niwaki.recipes.foresight import Foresight, foresee, save
from niwaki.recipes.foresight_tables import tables
from niwaki.recipes.progress import Teller
from niwaki.recipes.run import run
from niwaki.recipes.schema import Measure
from niwaki.report import Entry, Foretold
from niwaki.report import Latency as Timed
from tests.forecast.test_forecast import made_up
from tests.recipes.kitchen import TRAINED, project

ENTRY = Entry("one", "one", None, None, 1, 1, 1)
WIDE = {"model_args": {"width": 64}}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Profiles are made up, and note what was asked."""
    asked: list[dict[str, Any]] = []

    def profile(model: nn.Module, inputs: Any, *, graph: Graph, tick: Any, **settings: Any) -> Forecast:
        asked.append(settings)
        for done in range(3):
            tick("layers", done, 2)
        tick("whole networks", 0, 1)
        return made_up(graph)

    monkeypatch.setattr(foresight, "profile", profile)
    return asked


def foreseen(folder: Path, **changes: Any) -> list[Foresight]:
    path, _ = project(folder, **{**WIDE, **changes})
    return foresee(Recipe.load(path), teller=Teller(quiet=True))


def told(found: Foresight) -> str:
    console = Console(width=200, file=StringIO())
    for part in tables(found):
        console.print(part, markup=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_every_runtime_of_the_recipe_is_foreseen(tmp_path: Path, fake: list[dict[str, Any]]) -> None:
    measure = {"runtimes": ["pytorch", "onnxruntime"], "threads": 2}
    found = foreseen(tmp_path, measure=measure)
    assert [settings["runtime"] for settings in fake] == ["pytorch", "onnxruntime"]
    assert [settings["threads"] for settings in fake] == [2, 2]
    assert [one.batch for one in found] == [2, 2]
    assert "the dense network takes 10.00 ms" in told(found[0])


def test_each_runtime_is_told_before_the_next_begins(tmp_path: Path, fake: list[dict[str, Any]]) -> None:
    path, _ = project(tmp_path, **WIDE)
    begun: list[int] = []
    runtimes = ("pytorch", "onnxruntime")
    found = foresee(Recipe.load(path), runtimes, None, Teller(quiet=True), told=lambda one: begun.append(len(fake)))
    assert (begun, len(found)) == ([1, 2], 2)


def test_the_plans_of_its_methods_are_foreseen(tmp_path: Path, fake: list[dict[str, Any]]) -> None:
    """What leaves zeros has no plan, what cannot be had is told."""
    methods = [
        {"name": "magnitude", "target": {"ratio": 0.5}, "label": "half"},
        {"name": "imp", "target": {"ratio": 0.9}, "steps": 2},
        {"name": "magnitude", "target": {"macs": 0.0001}, "label": "too little"},
    ]
    (found,) = foreseen(tmp_path, method=methods, **TRAINED)
    assert list(found.plans) == ["half"]
    (row,) = found.outlooks
    assert row.name == "half"
    assert row.speedup == pytest.approx(found.forecast.dense_ms / row.ms)
    left = {name: choice.removed for name, choice in found.plans["half"].choices.items()}
    assert row.macs == found.forecast.graph.macs(left) / found.forecast.graph.macs()
    text = told(found)
    assert "half" in text
    assert "too little: asked for 0.0001 of the dense multiply-adds" in text
    assert "Warning" not in text


def test_a_plan_that_is_slower_than_dense_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit less, and layers of odd widths take ten times as long."""

    def slow(task: Any) -> float:
        return float(task.macs * (10 if task.made % 4 or task.source % 4 else 1) + 1)

    monkeypatch.setattr("tests.forecast.test_forecast.ms_of", slow)
    monkeypatch.setattr(foresight, "profile", lambda model, inputs, *, graph, **_: made_up(graph))
    (found,) = foreseen(tmp_path, method={"name": "magnitude", "target": {"ratio": 0.02}})
    assert found.outlooks[0].slower
    text = told(found)
    assert "Warning: magnitude would make the network slower than it is. Round its widths (round_to: 4)" in text
    assert "(slower)" in text
    assert "multiples of 4" in text
    assert "more" in text


def test_all_of_it_is_written(tmp_path: Path, fake: list[dict[str, Any]]) -> None:
    found = foreseen(tmp_path)
    path = save(found, tmp_path / "deep" / "forecast.json")
    (one,) = json.loads(path.read_text())
    assert one["dense_ms"] == 10.0
    assert one["plans"][0]["plan"] == "magnitude"
    assert len(one["even"]) == 8
    assert {row["group"] for row in one["widths"]} == {g.name for g in found[0].forecast.graph.groups}


def test_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real times, of a small network; what was timed is kept where the environment says."""
    monkeypatch.setenv("NIWAKI_CACHE", str(tmp_path / "cache"))
    path, module = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["forecast", str(path), "--runtime", "pytorch", "--out", str(tmp_path / "f.json")])
    assert done.exit_code == 0, done.output
    assert "removed evenly" in done.output
    assert json.loads((tmp_path / "f.json").read_text())[0]["runtime"] == "pytorch"
    assert [p.name.split("-")[0] for p in (tmp_path / "cache").iterdir()] == ["pytorch"]
    done = CliRunner().invoke(main, ["forecast", f"{module}:build", "-i", "[[1, 1, 6, 6]]"])
    assert done.exit_code == 0, done.output
    assert "batch 1" in done.output
    done = CliRunner().invoke(main, ["forecast", str(path), "--runtime", "tensorflow"])
    assert done.exit_code == 2
    assert "no runtime is called 'tensorflow'" in done.output


def test_a_runtime_that_is_not_there_is_told(tmp_path: Path) -> None:
    path, _ = project(tmp_path)
    with pytest.raises(BadInput, match="no runtime is called 'onnxruntim'; did you mean 'onnxruntime'"):
        foresee(Recipe.load(path), ("onnxruntim",), teller=Teller(quiet=True))


def test_a_run_forecasts_where_it_is_asked_to(tmp_path: Path, fake: list[dict[str, Any]]) -> None:
    """What it cuts; zeros save no time by themselves. The dense network's is what was measured of it then."""
    methods = [
        {"name": "magnitude", "target": {"ratio": 0.5}},
        {"name": "imp", "target": {"ratio": 0.5}, "rounds": 1, "steps": 1},
    ]
    measure = {"runtimes": ["pytorch"], "runs": 2, "forecast": True}
    path, _ = project(tmp_path, method=methods, measure=measure, **TRAINED)
    found = run(Recipe.load(path), teller=Teller(quiet=True)).report
    dense, cut, zeros = found.entries
    assert dense.forecast == (Foretold("PyTorch", 1, 2, 10.0),)
    assert [told.setting for told in cut.forecast] == [timing.setting for timing in cut.latency]
    assert cut.forecast[0].ms < 10.0
    assert zeros.forecast == ()
    assert [one.cause for one in cut.limits] == ["share", "share"]
    assert zeros.limits == ()
    assert dense.weights is not None
    assert len(dense.weights) == 64
    assert dense.peak_bytes is not None
    assert cut.peak_bytes is not None
    assert dense.peak_bytes > cut.peak_bytes > (cut.activation_bytes or 0) > 0
    assert found.blocked
    assert len(fake) == 1
    run(Recipe.load(path, ["measure.forecast=false"]), teller=Teller(quiet=True))
    assert len(fake) == 1


def test_a_target_of_latency_is_shown_without_being_asked(
    tmp_path: Path, fake: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The goal, the forecast and the measured time, in its runtime, beside a method that has no such target."""
    monkeypatch.setattr("niwaki.forecast.latency.decide", lambda graph, rungs, target: {rungs[0].group.name: (0, 1)})
    methods = [
        {"name": "magnitude", "target": {"latency": 0.5}},
        {"name": "magnitude", "target": {"ratio": 0.5}, "label": "by ratio"},
        {"name": "magnitude", "target": {"latency": 0.5, "batch": 7}, "label": "elsewhere"},
    ]
    path, _ = project(tmp_path, method=methods, measure={"runs": 0})
    report = run(Recipe.load(path), teller=Teller(quiet=True)).report
    dense, aimed, other, elsewhere = report.entries
    assert [settings["runtime"] for settings in fake] == ["pytorch"]
    assert [told.setting for told in aimed.forecast] == [("PyTorch", 1, 2)]
    ahead = aimed.forecast[0].ms / dense.forecast[0].ms
    assert f"in PyTorch (1 thread, batch 2). Forecast: {ahead:.1%}. Measured: not made." in aimed.notes[-1]
    assert not any(note.startswith("Goal") for note in (*dense.notes, *other.notes))
    assert "in PyTorch (1 thread, batch 7). It was not measured in this run" in elsewhere.notes[-1]


@pytest.mark.parametrize(
    ("target", "measured", "forecast"),
    [
        (nk.Latency(0.5, runtime="openvino"), ["pytorch", "openvino"], ["openvino"]),
        (nk.Latency(0.5, runtime="openvino", batch=2), ["pytorch", "openvino"], ["openvino"]),
        (nk.Latency(0.5, runtime="openvino", batch=1), ["pytorch"], []),
        (nk.Latency(0.5, runtime="openvino", threads=2), ["pytorch"], []),
        (nk.Latency(0.5), ["pytorch"], ["pytorch"]),
        (nk.Macs(0.5), ["pytorch"], []),
    ],
)
def test_where_a_target_of_latency_is_met(target: nk.targets.Target, measured: list[str], forecast: list[str]) -> None:
    methods = [nk.methods.magnitude(target)]
    assert list(aims.timed(Measure(), methods, 2).runtimes) == measured
    assert list(aims.forecast(Measure(), methods, 2).runtimes) == forecast
    assert aims.forecast(Measure(forecast=True), methods, 2).runtimes == ("pytorch",)


def test_how_near_a_goal_was_come_to() -> None:
    """Said once, however often it is told."""
    dense = replace(
        ENTRY, latency=(Timed("PyTorch", 1, 1, 10.0, 9.0, 1.0, 5),), forecast=(Foretold("PyTorch", 1, 1, 8.0),)
    )
    small = replace(
        ENTRY, latency=(Timed("PyTorch", 1, 1, 6.0, 5.0, 1.0, 5),), forecast=(Foretold("PyTorch", 1, 1, 4.0),)
    )
    once = aims.with_aim(replace(small, notes=("Mind.",)), dense, nk.Latency(0.5), 1)
    said = "Goal: 50.0% of the dense network's time in PyTorch (1 thread, batch 1). Forecast: 50.0%. Measured: 60.0%."
    assert once.notes == ("Mind.", said)
    assert aims.with_aim(once, dense, nk.Latency(0.5), 1) == once


def test_the_key_of_the_recipe() -> None:
    data = {"model": "m:f", "inputs": [[1]], "method": "magnitude", "out": "o"}
    asked = Recipe.read({**data, "measure": {"forecast": True}})
    assert asked.measure.forecast
    assert Recipe.read(asked.to_json()) == asked
    assert "forecast" not in Recipe.read(data).to_json()["measure"]
    with pytest.raises(BadInput, match=r"measure\.forecast must be true or false, not 'yes'"):
        Recipe.read({**data, "measure": {"forecast": "yes"}})


def test_without_a_runtime_there_is_nothing_to_forecast(tmp_path: Path, fake: list[dict[str, Any]]) -> None:
    path, _ = project(tmp_path, measure={"runtimes": []})
    with pytest.raises(BadInput, match=r"measure\.runtimes of the recipe is empty; name one with --runtime"):
        foresee(Recipe.load(path), teller=Teller(quiet=True))
    assert fake == []
    assert len(foresee(Recipe.load(path), ("pytorch",), teller=Teller(quiet=True))) == 1
