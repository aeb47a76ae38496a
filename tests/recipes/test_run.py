"""A whole run: what is on disk at the end, that it is the same for all methods, and what an interruption leaves."""

from __future__ import annotations

import io
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.recipes import Recipe, exporting, facts, phases
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import gather
from niwaki.recipes.progress import Teller
from niwaki.recipes.record import recording
from niwaki.recipes.run import Finished, run
from niwaki.recipes.standing import Standing
from niwaki.report import Report
from niwaki.tracing import trace
from tests.recipes.kitchen import GREG, TRAINED, project

QUIET = Teller(quiet=True)


def has_onnx() -> bool:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    timed = {"runtimes": ["pytorch", "onnxruntime"], "runs": 3}
    onnx: dict[str, Any] = {"export": ["onnx"], "dynamic": "batch", "measure": timed}
    path, _ = project(
        tmp_path_factory.mktemp("whole"),
        method=[{"name": "magnitude", "target": {"ratio": 0.5}}, GREG],
        finetune={"epochs": 2, "schedule": "cosine"},
        **TRAINED,
        **(onnx if has_onnx() else {"measure": {"runs": 3}}),
    )
    return Recipe.load(path)


@pytest.fixture(scope="module")
def finished(recipe: Recipe) -> Finished:
    return run(recipe, command="niwaki prune recipe.yaml", teller=QUIET)


def rows(recipe: Recipe, name: str) -> list[dict[str, Any]]:
    text = (Path(recipe.out) / name / "record.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_folder_of_each_method_is_complete(recipe: Recipe, finished: Finished) -> None:
    wanted = {"certificate.json", "load.py", "model.safetensors", "modules.json", "plan.json", "record.jsonl"}
    wanted |= {"README.md", "environment.json", "examples.json", "examples.safetensors", "manifest.json"}
    wanted |= {"measurements.json", "recipe.yaml"}
    wanted |= {"model.onnx"} if has_onnx() else set()
    for name in ("magnitude", "greg1"):
        folder = Path(recipe.out) / name
        assert {p.name for p in folder.iterdir()} == wanted
        checks = json.loads((folder / "certificate.json").read_text())["checks"]
        names = [c["name"] for c in checks]
        assert names == ["cut", "cut", "reloaded", *(["onnx"] * 5 if has_onnx() else [])]
        assert not has_onnx() or any(c["detail"].startswith("batch 3") for c in checks)
        assert all(c["holds"] for c in checks)
    assert finished.failing == ()


def test_the_saved_model_loads_into_a_fresh_one(recipe: Recipe, finished: Finished) -> None:
    with importing_from(recipe.folder):
        dense = gather(recipe).dense
    small = nk.load(Path(recipe.out) / "greg1", dense)
    assert small[0].weight.shape == (4, 1, 3, 3)  # type: ignore[index]


def test_the_report_holds_what_was_measured(recipe: Recipe, finished: Finished) -> None:
    report = Report.load(recipe.out)
    assert report == finished.report
    assert finished.page == Path(recipe.out) / "report.html"
    assert [e.name for e in report.entries] == ["dense", "magnitude", "greg1"]
    dense, magnitude, greg = report.entries
    assert dense.widths == {"0": 8, "3": 8}
    assert magnitude.widths == greg.widths == {"0": 4, "3": 4}
    assert magnitude.macs < dense.macs
    assert dense.accuracy == greg.accuracy == 0.5
    assert set(greg.seconds) == {"prune", "finetune", "certify"}
    assert [t.runtime for t in greg.latency] == ["PyTorch", *(["ONNX Runtime"] if has_onnx() else [])]
    assert greg.latency[0].batch == 2
    assert greg.method == {"name": "greg1", **{k: v for k, v in GREG.items() if k != "name"}}
    assert report.settings == recipe.to_json()


def test_the_growing_penalty_is_traced(finished: Finished) -> None:
    assert {t.group for t in finished.report.traces} == {"0", "3"}
    for told in finished.report.traces:
        assert told.penalty == (0.25, 0.5, 0.75, 1.0, 1.25)
        assert len(told.chosen) == 4
        assert len(told.norms[0]) == 8


def test_the_parting_of_all_groups_is_told(finished: Finished) -> None:
    (made,) = finished.report.partings
    assert made.entry == "greg1"
    assert made.parted == 1000.0
    assert made.stages == [("press", 0.0), ("hold", 5.0)]
    assert made.end == 7
    assert [one.group for one in made.groups] == ["0", "3"]
    assert all(one.penalty == (0.25, 0.5, 0.75, 1.0, 1.25) and None not in one.ratio for one in made.groups)
    assert "How the groups parted" in finished.page.read_text()


def test_the_curve_counts_images_over_both_phases(finished: Finished) -> None:
    points = [(p.phase, p.images) for p in finished.report.curve if p.entry == "greg1" and p.loss is not None]
    # Five updates and two steps of holding, three batches of four images an epoch; then two epochs of three batches.
    assert points == [("prune", 12), ("prune", 24), ("prune", 28), ("finetune", 40), ("finetune", 52)]
    tuned = [p.images for p in finished.report.curve if p.entry == "magnitude" and p.loss is not None]
    assert tuned == [12, 24]


def test_the_record_tells_the_run(recipe: Recipe, finished: Finished) -> None:
    events = [row["event"] for row in rows(recipe, "greg1")]
    assert events[:2] == ["start", "choose"]
    assert events[-1] == "finished"
    assert {"press", "cut", "epoch", "accuracy"} <= set(events)


def test_a_run_can_be_repeated(recipe: Recipe, finished: Finished, tmp_path: Path) -> None:
    again = Recipe.load(recipe.folder / "recipe.yaml", [f"out={tmp_path}", "export=[]", "measure.runs=0"])
    run(again, teller=QUIET)
    for name in ("magnitude", "greg1"):
        one, two = (load_file(Path(out) / name / "model.safetensors") for out in (recipe.out, again.out))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_interrupted_run_keeps_the_finished_methods(tmp_path: Path) -> None:
    stop = "\n\ndef stop(model, batch):\n    raise KeyboardInterrupt\n"
    methods = [{"name": "magnitude", "target": {"ratio": 0.5}}, GREG]
    path, _ = project(tmp_path, stop, **{**TRAINED, "loss": "@stop"}, method=methods)
    with pytest.raises(KeyboardInterrupt):
        run(Recipe.load(path), teller=QUIET)
    assert (tmp_path / "out" / "magnitude" / "model.safetensors").is_file()
    assert [e.name for e in Report.load(tmp_path / "out").entries] == ["dense", "magnitude"]


@pytest.mark.parametrize("dynamic", [None, "batch"])
def test_what_an_exporter_refuses_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dynamic: str | None
) -> None:
    def refusing(*words: Any, **more: Any) -> Path:
        raise BadInput("it has no such operator")

    monkeypatch.setattr(exporting, "_WRITERS", {"torch_export": refusing})
    recipe = Recipe.load(project(tmp_path, export=["torch_export"], dynamic=dynamic, method=GREG, **TRAINED)[0])
    said = io.StringIO()
    with pytest.raises(BadInput, match=r"export: torch_export does not take the dense network.*no such operator"):
        run(recipe, teller=Teller(Console(file=said)))
    assert "prune" not in said.getvalue()
    assert not Path(recipe.out).exists()


def test_networks_that_cannot_be_timed_are_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*words: Any) -> Any:
        raise RuntimeError("no such\noperator")

    recipe = Recipe.load(project(tmp_path, measure={"runs": 1})[0])
    with monkeypatch.context() as patch:
        patch.setattr("niwaki.recipes.run.latencies", failing)
        first = run(recipe, teller=QUIET)
    assert first.untimed == "RuntimeError: no such operator"
    assert "Not timed: RuntimeError: no such operator. niwaki prune with --resume tries it" in first.page.read_text()
    assert [e.latency for e in Report.load(recipe.out).entries] == [(), ()]
    again = run(recipe, teller=QUIET, resume=True)
    assert (again.untimed, again.report.entries[1].notes) == ("", ())
    assert [len(e.latency) for e in again.report.entries] == [1, 1]


def test_a_method_that_cuts_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("niwaki.recipes.run.prune_with", lambda stuff, model, *rest: phases.Pruned(model, {}))
    with pytest.raises(BadInput, match="magnitude ended without cutting anything"):
        run(Recipe.load(project(tmp_path)[0]), teller=QUIET)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("cosine", [1.0, 0.75, 0.25]),
        ("constant", [1.0, 1.0, 1.0]),
        ("linear", [1.0, 2 / 3, 1 / 3]),
        ({"linear": {"warmup": 2 / 3}}, [0.0, 0.5, 1.0]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: Any, rates: list[float]
) -> None:
    path, _ = project(tmp_path, finetune={"epochs": 1, "schedule": schedule}, **TRAINED)
    seen: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, closure: Any = None) -> Any:
        seen.append(self.param_groups[0]["lr"] / 0.01)
        return step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    recipe = Recipe.load(path)
    with importing_from(recipe.folder), closing(Standing(tmp_path, False)) as standing:
        stuff = gather(recipe)
        seen.clear()
        phases.finetune(stuff, phases.Pruned(stuff.dense, {}), standing, QUIET, "x", 0)
    assert seen == pytest.approx(rates)


def test_longest_bounds_the_steps() -> None:
    method = nk.methods.greg1(nk.Ratio(0.5), grow=0.25, every=3, hold=7)
    assert method.body.longest == 3 * 5 + 7
    assert nk.methods.magnitude(nk.Ratio(0.5)).body.longest == 0
    picked = nk.methods.greg2(nk.Ratio(0.5), pick_at=2.0, pick_grow=1.0, grow=1.0, every=1, ceiling=3.0, hold=0)
    assert picked.body.longest == 3 + 2


def test_widths_without_choices_come_from_what_was_removed() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 2, 1))
    graph = trace(model, torch.zeros(1, 1, 4, 4))
    plan = nk.make_plan(graph, {"0": (1, 5, 6)})
    bare = nk.Plan(plan.tensors, plan.removed)
    assert [facts._left(graph["0"], p) for p in (plan, bare)] == [5, 5]


def test_a_record_writes_no_nan(tmp_path: Path) -> None:
    with recording(tmp_path / "a" / "r.jsonl") as record:
        record({"event": "press", "ratio": float("inf"), "norms": [1.0, float("nan")]})
    assert json.loads((tmp_path / "a" / "r.jsonl").read_text()) == {
        "event": "press",
        "ratio": None,
        "norms": [1.0, None],
    }


def test_bars_on_a_terminal_and_lines_elsewhere() -> None:
    plain, rich = io.StringIO(), io.StringIO()
    with Teller(Console(file=plain)).stage("prune", 2) as advance:
        advance("loss 1")
    with Teller(Console(file=plain)).wait("certify"):
        pass
    assert plain.getvalue() == "prune …\ncertify …\n"
    with Teller(Console(file=rich, force_terminal=True, width=100)).stage("prune", 2) as advance:
        advance("loss [1]")
    with Teller(Console(file=rich, force_terminal=True, width=100)).wait("certify [x]"):
        pass
    assert "1/2" in rich.getvalue()
    assert "loss [1]" in rich.getvalue()
    assert "certify [x]" in rich.getvalue()


def test_the_example_recipe_is_sound() -> None:
    place = Path(__file__).parents[2] / "recipes" / "fashion.yaml"
    recipe = Recipe.load(place, ["model_args.epochs=0"])
    with importing_from(recipe.folder):
        stuff = gather(recipe)
    graph = trace(stuff.dense, stuff.inputs)
    assert len(graph.groups) == 6
    batch = next(iter(stuff.batches(0)))
    assert stuff.loss is not None
    assert stuff.loss(stuff.dense, batch).requires_grad
    assert [m.name for m in stuff.methods] == ["magnitude", "greg1", "greg2"]
