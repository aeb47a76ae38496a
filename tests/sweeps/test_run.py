"""A sweep from end to end: what it leaves, what a crash costs, how it goes on, and what it refuses. Trials run in this
process, one after the other; the processes themselves are tested in test_processes.py."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from niwaki.errors import BadInput
from niwaki.recipes import Measure, Recipe, foresight
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import build_model
from niwaki.recipes.record import rows_of
from niwaki.recipes.standing import fingerprint
from niwaki.report import Report
from niwaki.sweeps import Sweep, timing
from niwaki.sweeps import base as bases
from niwaki.sweeps.grid import expand
from niwaki.sweeps.ledger import locked
from niwaki.sweeps.run import checked
from niwaki.sweeps.showing import troubles
from tests.forecast.test_forecast import made_up
from tests.recipes.kitchen import GREG
from tests.sweeps.plots import Here, planted, swept, told

PRESSING = {k: v for k, v in GREG.items() if k not in ("target", "hold")}
TUNED = {"finetune": {"epochs": 1}}


def dense_state(folder: Path) -> dict[str, Any]:
    """The weights of some network of this recipe."""
    with importing_from(folder):
        return build_model(Recipe.load(folder / "recipe.yaml").model).state_dict()


def states(folder: Path) -> dict[str, str]:
    return {trial["name"]: trial["state"] for trial in told(folder)["trials"]}


def test_a_sweep_ends_in_one_table(tmp_path: Path) -> None:
    """Two methods, one with two settings, two seeds: three rows of two networks each."""
    greg = {**PRESSING, "over": {"hold": [1, 2]}}
    recipe = {**TUNED, "measure": {"runs": 2}}
    path = planted(
        tmp_path, recipe, methods=["magnitude", greg], seeds=2, choose_by="@by_weight", choose_args={"sign": 1}
    )
    here = Here()
    found = swept(path, here, command="niwaki sweep sweep.yaml")
    assert len(here.ran) == 6
    assert (found.failed, found.left) == ({}, 0)

    made = told(tmp_path)
    assert {trial["state"] for trial in made["trials"]} == {"finished"}
    assert len({trial["weights"] for trial in made["trials"]}) == 1
    assert [(row["method"], row["setting"], row["seeds"]) for row in made["families"]] == [
        ("magnitude", "", 2), ("greg1", "hold 1", 2), ("greg1", "hold 2", 2)
    ]  # fmt: skip
    for row, first in zip(made["families"], (0, 2, 4), strict=True):
        pair = [trial["networks"][0] for trial in made["trials"][first : first + 2]]
        assert row["accuracy_mean"] == pytest.approx(statistics.mean(one["accuracy"] for one in pair))
        assert row["judged_mean"] == pytest.approx(statistics.mean(one["judged"] for one in pair))
        assert row["ms PyTorch, 1 threads, batch 2"] > 0
        assert row["certified"] is True
    one, other = made["families"][1:]  # alike by accuracy, where the first would be chosen; but not by the judge
    assert one["accuracy_mean"] == other["accuracy_mean"]
    assert one["judged_mean"] < other["judged_mean"]
    assert [row["chosen"] for row in made["families"]] == [True, False, True]
    assert made["level"] == "S3.2"
    assert [one["images"] - one["images_before_cut"] for t in made["trials"] for one in t["networks"]] == [12] * 6

    assert found.page is not None
    html = found.page.read_text()
    assert html.count('href="trials/') == 6
    for trial in made["trials"]:
        assert (tmp_path / "swept" / "trials" / trial["name"] / "report.html").is_file()
    rows = list(csv.DictReader((tmp_path / "swept" / "table.csv").read_text().splitlines()))
    assert [(row["method"], row["chosen"]) for row in rows] == [
        ("magnitude", "True"), ("greg1", "False"), ("greg1", "True")
    ]  # fmt: skip


GRID = {"methods": [{**PRESSING, "over": {"hold": [1, 2]}}]}


def judged(folder: Path) -> list[float | None]:
    return [row["judged_mean"] for row in told(folder)["families"]]


def test_a_judge_of_another_day_does_not_choose(tmp_path: Path) -> None:
    """Other arguments, no judge, and the old one again; its word was kept."""
    path, here = planted(tmp_path, **GRID, choose_by="@by_weight"), Here()
    first = swept(path, here)
    assert first.page is not None
    assert "Settings were chosen by" in first.page.read_text()
    known, asked = judged(tmp_path), path.read_text()
    assert None not in known
    path.write_text(asked + "choose_args: {sign: -1}\n")
    html = swept(path, here).page.read_text()  # type: ignore[union-attr]
    assert judged(tmp_path) == [None, None]
    assert told(tmp_path)["not_judged"] == ["greg1-ratio0.5-hold1-seed0", "greg1-ratio0.5-hold2-seed0"]
    assert "has not judged greg1-ratio0.5-hold1-seed0, greg1-ratio0.5-hold2-seed0, which" in html
    assert "Settings were chosen by" not in html
    path.write_text("\n".join(line for line in asked.splitlines() if not line.startswith("choose_by")))
    swept(path, here)
    assert judged(tmp_path) == [None, None]
    path.write_text(asked)
    swept(path, here)
    assert judged(tmp_path) == known
    assert len(here.ran) == 2


def test_values_that_read_alike_are_two_rows(tmp_path: Path) -> None:
    swept(planted(tmp_path, targets=[{"ratio": 0.5}, {"ratio": 0.5000001}]), Here())
    assert [(row["target"], row["seeds"]) for row in told(tmp_path)["families"]] == [
        ('{"ratio": 0.5}', 1), ('{"ratio": 0.5000001}', 1)
    ]  # fmt: skip


def test_the_weights_of_the_dense_network_may_be_told_of_it_alone(tmp_path: Path) -> None:
    path = planted(tmp_path, {"measure": {"runs": 1}}, dense={"weights": "dense.safetensors"})
    state = dense_state(tmp_path)
    save_file({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "dense.safetensors")
    swept(path, Here())
    sweep = Sweep.load(path)
    (base,) = set(bases.bases(sweep, expand(sweep), tmp_path / "swept").values())
    with importing_from(tmp_path):
        model, _ = base.build()
    assert fingerprint(model) == base.weights == told(tmp_path)["trials"][0]["weights"]
    assert (model.state_dict()["0.weight"] == state["0.weight"] + 1).all()


def test_a_network_that_was_made_anew_is_timed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the same minute: by its weights, and not by the hour that its report tells."""
    path, begun = planted(tmp_path, {"measure": {"runs": 1}}), list[object]()
    real = timing.latencies
    monkeypatch.setattr(timing, "latencies", lambda *given: begun.append(1) or real(*given))
    swept(path, Here())
    swept(path, Here())
    assert len(begun) == 1
    (file,) = (tmp_path / "swept").glob("trials/*/magnitude/model.safetensors")
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    swept(path, Here())
    assert len(begun) == 2


@pytest.mark.parametrize("what", ["processor", "version"])
def test_on_another_machine_or_runtime_all_is_timed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path, begun = planted(tmp_path, {"measure": {"runs": 1}}), list[object]()
    real = timing.latencies
    monkeypatch.setattr(timing, "latencies", lambda *given: begun.append(1) or real(*given))
    swept(path, Here())
    monkeypatch.setattr(timing.hardware, what, lambda *given: "another")
    swept(path, Here())
    assert len(begun) == 2


def test_other_inputs_are_timed_on_themselves(tmp_path: Path) -> None:
    path = planted(
        tmp_path,
        {"measure": {"runs": 1}},
        over={"inputs": [[[2, 1, 6, 6]], [[4, 1, 6, 6]]]},
        mixing={"measuring": "why"},
    )
    found = swept(path, Here())
    times = [trial["networks"][0]["latency"][0] for trial in told(tmp_path)["trials"]]
    assert [one["batch"] for one in times] == [2, 4]
    assert len(list((tmp_path / "swept").glob("dense-*.safetensors"))) == 1
    assert told(tmp_path)["dense"]["latency"] == []
    assert found.page is not None
    assert "was measured on the inputs of magnitude-ratio0.5-" in found.page.read_text()


def test_all_seeds_begin_with_one_dense_network_and_train_by_their_own(tmp_path: Path) -> None:
    path = planted(tmp_path, TUNED, seeds=2)
    swept(path, Here())
    reports = [Report.load(tmp_path / "swept" / "trials" / f"magnitude-ratio0.5-seed{seed}") for seed in (0, 1)]
    assert len({report.dense.weights for report in reports if report.dense is not None}) == 1
    assert [report.settings["seed"] for report in reports] == [0, 1]
    folders = [tmp_path / "swept" / "trials" / f"magnitude-ratio0.5-seed{seed}" / "magnitude" for seed in (0, 1)]
    one, other = (load_file(folder / "model.safetensors") for folder in folders)
    assert any((one[name] != other[name]).any() for name in one)  # other batches


def test_the_dense_network_is_built_once_by_what_is_said_of_it(tmp_path: Path) -> None:
    path = planted(tmp_path, {"model": "@counted"}, dense={"model_args.log": str(tmp_path / "log")}, seeds=2)
    swept(path, Here())
    swept(path, Here())
    assert (tmp_path / "log").read_text() == "8 "


def test_one_trial_s_crash_costs_only_itself(tmp_path: Path) -> None:
    path = planted(tmp_path, seeds=3)
    crash = "magnitude-ratio0.5-seed1"
    found = swept(path, Here({crash: -9}))
    assert list(found.failed) == [crash]
    assert states(tmp_path) == {f"magnitude-ratio0.5-seed{s}": "failed" if s == 1 else "finished" for s in (0, 1, 2)}
    assert told(tmp_path)["families"][0]["seeds"] == 2
    assert found.page is not None
    assert f"{crash}: killed by SIGKILL" in found.page.read_text()
    again = Here()
    assert list(swept(path, again).failed) == [crash]
    assert again.ran == []
    assert swept(path, again, retry_failed=True).failed == {}
    assert again.ran == [crash]


def test_when_all_fail_there_is_no_page(tmp_path: Path) -> None:
    path = planted(tmp_path)
    found = swept(path, Here({"magnitude-ratio0.5-seed0": 2}))
    assert (found.page, found.told, list(found.failed)) == (None, None, ["magnitude-ratio0.5-seed0"])
    assert states(tmp_path) == {"magnitude-ratio0.5-seed0": "failed"}


def test_where_nothing_is_finished_any_more_no_old_page_stays(tmp_path: Path) -> None:
    path, out = planted(tmp_path), tmp_path / "swept"
    swept(path, Here())
    assert (out / "report.html").is_file()
    path.write_text(path.read_text().replace("seeds:\n- 0", "seeds: [1]"))
    assert swept(path, Here({"magnitude-ratio0.5-seed1": 2})).page is None
    assert [(out / name).exists() for name in ("report.html", "table.csv", "sweep.json")] == [False, False, True]


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole, broken = planted(tmp_path / "whole", TUNED, seeds=3), planted(tmp_path / "broken", TUNED, seeds=3)
    swept(whole, Here())
    first = Here(stop=1)
    with pytest.raises(KeyboardInterrupt):
        swept(broken, first)
    second = Here()
    swept(broken, second)
    assert first.ran + second.ran == [f"magnitude-ratio0.5-seed{seed}" for seed in (0, 1, 2)]
    assert networks(tmp_path / "whole") == networks(tmp_path / "broken")


def networks(folder: Path) -> dict[str, Any]:
    """Every trial's weights, and its training as it was recorded."""
    found = {}
    for file in sorted((folder / "swept" / "trials").glob("*/*/model.safetensors")):
        place = file.parent
        weights = {name: tensor.tolist() for name, tensor in load_file(file).items()}
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(place / "record.jsonl")]
        found[place.parent.name] = (weights, rows)
    return found


def test_only_some_are_run(tmp_path: Path) -> None:
    path, here = planted(tmp_path, seeds=3), Here()
    found = swept(path, here, only="*-seed[12]")
    assert [name[-5:] for name in here.ran] == ["seed1", "seed2"]
    assert found.left == 1
    assert found.page is not None
    assert "1 of 3 trials have not been run" in found.page.read_text()
    with pytest.raises(BadInput, match=r"no trial is called like 'greg\*'; the first of 3 is magnitude-ratio0.5-seed0"):
        swept(path, here, only="greg*")


def test_a_sweep_may_grow_and_shrink(tmp_path: Path) -> None:
    swept(planted(tmp_path), Here())
    path = tmp_path / "sweep.yaml"
    path.write_text(path.read_text().replace("seeds:\n- 0", "seeds: 2"))
    here = Here()
    swept(path, here)
    assert here.ran == ["magnitude-ratio0.5-seed1"]
    path.write_text(path.read_text().replace("seeds: 2", "seeds: [1]"))
    assert swept(path, here).left == 0
    assert [trial["seed"] for trial in told(tmp_path)["trials"]] == [1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("lr: 0.01", "lr: 0.02"), "were run with another optimizer"),
        (("epochs: 1", "epochs: 2"), "were run with another finetune"),
    ],
)
def test_what_was_run_by_another_recipe_is_not_taken_for_this_one(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    path = planted(tmp_path, TUNED, seeds=2)
    swept(path, Here())
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(*change))
    here = Here()
    with pytest.raises(BadInput, match=f"magnitude-ratio0.5-seed0, .*-seed1 in .* {said}. Give the old settings again"):
        swept(path, here)
    assert here.ran == []


def test_how_networks_are_timed_may_change(tmp_path: Path) -> None:
    path, here = planted(tmp_path), Here()
    swept(path, here)
    assert told(tmp_path)["trials"][0]["networks"][0]["latency"] == []
    path.write_text(path.read_text() + "set: {measure.runs: 2}\n")
    swept(path, here)
    assert len(here.ran) == 1
    times = told(tmp_path)["trials"][0]["networks"][0]["latency"]
    assert [one["runs"] for one in times] == [2]
    swept(path, here)  # not timed anew
    assert told(tmp_path)["trials"][0]["networks"][0]["latency"] == times


def test_a_target_of_latency_is_timed_where_it_is_to_be_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the recipe names no runtime."""
    monkeypatch.setattr("niwaki.forecast.latency.decide", lambda graph, rungs, target: {rungs[0].group.name: (0, 1)})
    monkeypatch.setattr(foresight, "profile", lambda *words, graph, **more: made_up(graph))
    quick = {"name": "magnitude", "target": {"latency": 0.5}}
    recipe = {"measure": {"runtimes": [], "runs": 2}}
    swept(planted(tmp_path, recipe, methods=[quick], targets=None), Here())
    (trial,) = told(tmp_path)["trials"]
    assert [(one["runtime"], one["runs"]) for one in trial["networks"][0]["latency"]] == [("PyTorch", 2)]
    assert [one["runtime"] for one in told(tmp_path)["dense"]["latency"]] == ["PyTorch"]


def test_in_onnx_runtime_those_are_timed_that_have_a_file_for_it(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    files = {name: tmp_path / name for name in ("there", "nowhere")}
    assert list(timing._onnx_files(Measure(), files)) == ["there"]
    assert list(timing._onnx_files(Measure(("onnxruntime",)), files)) == ["there", "nowhere"]


def test_a_start_that_changed_meanwhile_is_refused_before_work(tmp_path: Path) -> None:
    """The path of the weights is the same, and the bytes are not."""
    path = planted(tmp_path, {"weights": "dense.safetensors"}, seeds=2)
    state = dense_state(tmp_path)
    save_file(state, tmp_path / "dense.safetensors")
    swept(path, Here(), only="*-seed0")
    save_file({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "dense.safetensors")
    here = Here()
    with pytest.raises(BadInput, match=r"seed0 and .*-seed1|-seed1 and .*-seed0.* differ in weights"):
        swept(path, here)
    assert here.ran == []
    path.write_text(path.read_text() + "mixing: {base: two checkpoints}\n")
    swept(path, here)
    made = told(tmp_path)
    assert made["level"] == "S1"
    assert {row["seeds"] for row in made["families"]} == {1}
    assert all(row["mixed base"].startswith("weights ") for row in made["families"])


def test_finished_trials_of_another_dense_network_are_refused(tmp_path: Path) -> None:
    path = planted(tmp_path, seeds=2, dense={"seed": 1})
    swept(path, Here())
    path.write_text(path.read_text().replace("dense:\n  seed: 1", "dense:\n  seed: 2"))
    here = Here()
    with pytest.raises(BadInput, match=r"-seed0, .*-seed1 in .* began with another dense network"):
        swept(path, here)
    assert here.ran == []
    path.write_text(path.read_text() + "mixing: {base: an older network}\n")
    swept(path, here)
    assert here.ran == []


class Broken(Here):
    """Leaves each trial as if it had been stopped: begun, and without an outcome."""

    def __call__(self, folders: Any, tick: Any) -> Any:
        for folder, _ in super().__call__(folders, tick):
            (folder / "outcome.json").unlink()
            raise KeyboardInterrupt
        yield from ()


def test_a_begun_trial_is_refused_under_another_dense_network_and_goes_on_in_a_moved_folder(tmp_path: Path) -> None:
    path = planted(tmp_path / "a", dense={"seed": 1})
    with pytest.raises(KeyboardInterrupt):
        swept(path, Broken())
    text = path.read_text()
    path.write_text(text.replace("dense:\n  seed: 1", "dense:\n  seed: 2"))
    with pytest.raises(BadInput, match=r"-seed0 in .* began with another dense network"):
        swept(path, Here())
    path.write_text(text)
    (tmp_path / "a" / "swept").rename(tmp_path / "moved")
    path.write_text(text.replace(str(tmp_path / "a" / "swept"), str(tmp_path / "moved")))
    here = Here()
    assert swept(path, here).failed == {}
    assert len(here.ran) == 1


def test_a_trial_that_never_began_may_change(tmp_path: Path) -> None:
    path = planted(tmp_path, TUNED, seeds=2)
    with pytest.raises(KeyboardInterrupt):
        swept(path, Here(stop=0))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("lr: 0.01", "lr: 0.02"))
    assert swept(path, Here({"magnitude-ratio0.5-seed0": 1})).failed
    recipe.write_text(recipe.read_text().replace("lr: 0.02", "lr: 0.03"))
    with pytest.raises(BadInput, match=r"-seed0, .*-seed1 in .* were run with another optimizer"):
        swept(path, Here())


def test_a_report_that_cannot_be_read_costs_its_trial_alone(tmp_path: Path) -> None:
    path = planted(tmp_path, seeds=2)
    broken = "magnitude-ratio0.5-seed1"
    swept(path, Here())
    (tmp_path / "swept" / "trials" / broken / "report.json").write_text("{")
    found = swept(path, Here())
    assert list(found.failed) == [broken]
    assert found.failed[broken].said.startswith("its report cannot be read: ")
    here = Here()
    assert swept(path, here, retry_failed=True).failed == {}
    assert here.ran == [broken]


def test_an_error_in_the_timing_leaves_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_all(*words: Any) -> Any:
        raise RuntimeError("no such\noperator")

    path = planted(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("niwaki.sweeps.run.time_all", time_all)
        found = swept(path, Here())
    assert (found.untimed, found.failed) == ("RuntimeError: no such operator", {})
    assert found.page is not None
    assert "The networks could not be timed: RuntimeError: no such operator" in found.page.read_text()
    assert told(tmp_path)["families"][0]["seeds"] == 1
    assert "could not be timed" in troubles(found)[0]
    assert swept(path, Here()).untimed == ""


def test_what_was_run_is_judged_again_at_the_end(tmp_path: Path) -> None:
    """A report that tells of another evaluation than the sweep asked for."""

    class Tampering(Here):
        def __call__(self, folders: Any, tick: Any) -> Any:
            for folder, outcome in super().__call__(folders, tick):
                if folder.name.endswith("seed1"):
                    place = folder / "report.json"
                    data = json.loads(place.read_text())
                    data["settings"]["evaluate_args"] = {"sign": -1}
                    place.write_text(json.dumps(data))
                yield folder, outcome

    with pytest.raises(BadInput, match=r"seed0 and .*seed1 differ in evaluate_args.sign \(— and -1\)"):
        swept(planted(tmp_path, seeds=2), Tampering())


def test_a_mixture_that_is_asked_for_is_labelled_in_every_row(tmp_path: Path) -> None:
    path = planted(tmp_path, TUNED, over={"finetune.epochs": [0, 1]}, mixing={"retraining": "two budgets"})
    found = swept(path, Here())
    assert [row["mixed retraining"] for row in told(tmp_path)["families"]] == ["finetune.epochs 0", "finetune.epochs 1"]
    assert found.page is not None
    html = found.page.read_text()
    assert "Mixed on purpose, retraining: two budgets" in html
    assert html.count('data-name="retraining (mixed)"') == 3


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"targets": [{"macs": 0.0001}]}, r"trial magnitude-macs0.0001-seed0: .*"),
        (
            {"methods": [{"name": "magnitude", "labels": 1}]},
            "trial magnitude-ratio0.5-seed0: method .* has no 'labels'",
        ),
        ({"choose_by": "@by_size", "choose_args": {"sing": 1}}, "choose_args: by_size has no 'sing'"),
        ({"choose_by": "@by_size"}, "choose_by: .*:by_size with these choose_args is what evaluate reports"),
        ({"choose_by": "@nowhere"}, "choose_by: .* has no 'nowhere'"),
    ],
)
def test_what_no_trial_could_do_is_told_before_any_starts(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    here = Here()
    with pytest.raises(BadInput, match=said):
        swept(planted(tmp_path, **keys), here)
    assert here.ran == []


def test_two_sweeps_do_not_work_in_one_folder(tmp_path: Path) -> None:
    path = planted(tmp_path)
    with locked(tmp_path / "swept"), pytest.raises(BadInput, match="another sweep is at work in"):
        swept(path, Here())


def test_methods_that_leave_zeros_give_a_row_for_what_is_packed(tmp_path: Path) -> None:
    imp = {"name": "imp", "target": {"ratio": 0.5}, "rounds": 1, "steps": 2}
    path = planted(tmp_path, {"pack": True}, methods=[imp], targets=None)
    swept(path, Here())
    made = told(tmp_path)
    assert [row["method"] for row in made["families"]] == ["imp", "imp, packed"]
    first, packed = made["trials"][0]["networks"]
    assert packed["images_before_cut"] == first["images_before_cut"] > 0
    assert packed["images"] == first["images"]
    assert made["level"] == "S4.2"


def test_a_check_alone_writes_nothing(tmp_path: Path) -> None:
    assert len(checked(Sweep.load(planted(tmp_path, seeds=3)))) == 3
    assert not (tmp_path / "swept").exists()
