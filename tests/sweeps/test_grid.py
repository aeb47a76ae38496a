"""From a sweep to its trials: how many, in which order, under which names, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.recipes import Recipe
from niwaki.sweeps import Sweep
from niwaki.sweeps.grid import expand
from niwaki.sweeps.names import name_of, said
from niwaki.sweeps.schema import Cluster
from tests.recipes.kitchen import GREG

RECIPE: dict[str, Any] = {
    "model": "nets:build", "inputs": [[1, 4]], "optimizer": {"name": "SGD", "lr": 0.1}, "finetune": {"epochs": 1},
    "data": "nets:data", "loss": "nets:loss", "seed": 7, "measure": {"runs": 9, "threads": 2, "forecast": True},
}  # fmt: skip


def sweep(**keys: Any) -> Sweep:
    given = {"recipe": RECIPE, "methods": ["magnitude"], "targets": [{"macs": 0.5}], "out": "o", **keys}
    return Sweep.read({key: value for key, value in given.items() if value is not None})


def names(**keys: Any) -> list[str]:
    return [trial.name for trial in expand(sweep(**keys))]


def test_home_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert sweep(out="~/swept").out == "/home/me/swept"


def test_every_combination_once_in_the_order_of_the_file() -> None:
    greg = {"name": "greg1", "hold": 5, "over": {"grow": [1e-3, 0.01], "every": [1, 2]}}
    found = names(methods=["magnitude", greg], targets=[{"macs": 0.5}, {"macs": 0.25}], seeds=2)
    assert len(found) == len(set(found)) == 2 * 2 + 2 * 4 * 2
    assert found[:4] == [f"magnitude-macs{m}-seed{s}" for m in (0.5, 0.25) for s in (0, 1)]
    assert found[4:8] == [f"greg1-macs0.5-grow0.001-every{e}-seed{s}" for e in (1, 2) for s in (0, 1)]
    assert found[-1] == "greg1-macs0.25-grow0.01-every2-seed1"


def test_each_trial_is_a_recipe_of_one_method() -> None:
    greg = {"name": "greg1", "label": "G", "hold": 5, "over": {"grow": [1e-3]}}
    (trial,) = expand(sweep(methods=[greg], over={"finetune.epochs": [3]}, seeds=[4], mixing={"retraining": "why"}))
    recipe = Recipe.read(trial.data)
    (choice,) = recipe.methods
    assert (choice.name, choice.label) == ("greg1", "G")
    assert choice.settings == {"hold": 5, "grow": 1e-3, "target": {"macs": 0.5}}
    assert (recipe.seed, recipe.finetune and recipe.finetune.epochs) == (4, 3)
    assert (recipe.measure.runs, recipe.measure.threads, recipe.measure.forecast) == (0, 2, False)
    assert trial.values == {
        "method": "G", "target": {"macs": 0.5}, "own": {"grow": 1e-3}, "over": {"finetune.epochs": 3}, "seed": 4
    }  # fmt: skip


def test_what_is_timed_in_onnx_runtime_is_exported() -> None:
    recipe = {**RECIPE, "measure": {"runtimes": ["onnxruntime"]}, "export": ["torch_export"]}
    (trial,) = expand(sweep(recipe=recipe))
    assert Recipe.read(trial.data).export == ("torch_export", "onnx")


@pytest.mark.parametrize(
    ("runtime", "runs", "export"), [("onnxruntime", 3, ("onnx",)), ("openvino", 3, ()), ("onnxruntime", 0, ())]
)
def test_what_is_to_be_quick_in_onnx_runtime_is_exported(runtime: str, runs: int, export: tuple[str, ...]) -> None:
    quick = {"name": "magnitude", "target": {"latency": 0.5, "runtime": runtime}}
    made = expand(sweep(recipe={**RECIPE, "measure": {"runs": runs}}, methods=[quick, "random"], seeds=1))
    assert [Recipe.read(trial.data).export for trial in made] == [export, ()]


def test_what_fast_says_of_methods_that_do_not_run_is_not_told() -> None:
    recipe = {**RECIPE, "method": GREG, "fast": {"method.grow": 0.5, "finetune.epochs": 9}}
    made = sweep(recipe=recipe, fast=True)
    assert [str(change) for change in made.shortened] == ["finetune.epochs 1 → 9"]
    assert made.recipe["finetune"] == {"epochs": 9}
    made = sweep(recipe=recipe, fast=True, methods=None, targets=None)
    assert [change.key for change in made.shortened] == ["method.grow", "finetune.epochs"]
    assert made.methods[0].settings["grow"] == 0.5


def test_paths_into_the_recipe_are_one_key(tmp_path: Path) -> None:
    """A change of a section's key leaves the section's other keys as they are."""
    recipe = {**RECIPE, "finetune": {"epochs": 1, "schedule": "linear"}, "fast": {"seed": 5}}
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps({"recipe": recipe, "methods": ["magnitude"], "targets": [{"macs": 0.5}], "out": "o"}))
    changes = [
        "set.finetune.epochs=2", "set.measure.runs=3", "dense.model_args.width=4", "over.finetune.epochs=[1, 2]",
        "recipe.fast.optimizer.lr=0.5",
    ]  # fmt: skip
    made = Sweep.load(path, changes, fast=True)
    assert made.recipe["finetune"] == {"epochs": 2, "schedule": "linear"}
    assert (made.recipe["measure"]["runs"], made.recipe["measure"]["threads"]) == (3, 2)
    assert (made.recipe["optimizer"], made.recipe["seed"]) == ({"name": "SGD", "lr": 0.5}, 5)
    assert (made.dense, made.over) == ({"model_args.width": 4}, {"finetune.epochs": (1, 2)})


IMP = {"name": "imp", "rounds": 1, "steps": 1}


def test_only_what_leaves_zeros_is_packed() -> None:
    """A recipe of several methods packs what it can; so does a sweep of as many trials."""
    made = expand(sweep(recipe={**RECIPE, "pack": True}, methods=["magnitude", IMP], targets=[{"ratio": 0.5}]))
    assert [Recipe.read(trial.data).pack for trial in made] == [False, True]
    with pytest.raises(BadInput, match="pack is for methods that leave zeros"):
        expand(sweep(recipe={**RECIPE, "pack": True}))


def test_dense_says_how_the_dense_network_is_built_and_nothing_else() -> None:
    said = {
        "model": "nets:trained",
        "model_args.epochs": 3,
        "model_args": {"a": 1},
        "weights": "a.safetensors",
        "seed": 1,
    }
    assert set(sweep(dense=said).dense) == set(said)
    for key in ("finetune.epochs", "optimizer.lr", "model_argsx", "modelx.y", "data_args.size"):
        with pytest.raises(BadInput, match=f"dense: '{key}' has no part in how the dense network is built"):
            sweep(dense={key: 1})


def test_names_depend_on_their_own_values_alone() -> None:
    few = names(targets=[{"macs": 0.5}], seeds=1)
    assert set(few) < set(names(targets=[{"macs": 0.25}, {"macs": 0.5}], seeds=[3, 0], methods=["random", "magnitude"]))


def test_without_seeds_it_is_the_recipe_s_and_without_methods_theirs() -> None:
    recipe = {**RECIPE, "method": [{"name": "magnitude", "target": {"ratio": 0.5}}, "random"]}
    assert names(recipe=recipe, methods=None) == ["magnitude-ratio0.5-seed7", "random-macs0.5-seed7"]


def test_a_method_may_have_targets_of_its_own() -> None:
    imp = {"name": "imp", "rounds": 1, "steps": 1, "targets": [{"ratio": 0.5}, {"ratio": 0.75}]}
    assert names(methods=["magnitude", imp], seeds=1) == [
        "magnitude-macs0.5-seed0", "imp-ratio0.5-seed0", "imp-ratio0.75-seed0"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("greg1", {"macs": 0.5, "round_to": 8}, {"grow": 1e-3}, {}, 3), "greg1-macs0.5-round_to8-grow0.001-seed3"),
        (("a", "2:4", {}, {"finetune.epochs": 2}, 0), "a-target2-4-######-finetune.epochs2-seed0"),
        (("L1-norm", {"macs": 0.5}, {"grow": 1e-5}, {}, 0), "L1-norm-macs0.5-grow1e-05-seed0"),
        (("-x", {"macs": 0.5}, {}, {}, 0), "x-######-macs0.5-seed0"),
        (("../etc", {"macs": 0.5}, {}, {}, 0), "etc-######-macs0.5-seed0"),
        (("…", {"macs": 1 / 3}, {}, {}, 0), "######-macs0.3333333333333333-seed0"),
        (("a", {"ratio": {"x.*": 0.5}}, {}, {}, 0), "a-target######-seed0"),
    ],
)
def test_names_can_stand_on_every_disk(parts: Any, name: str) -> None:
    """What cannot stand in a name is told by six digits of a digest."""
    assert re.fullmatch(re.escape(name).replace("\\#" * 6, "[0-9a-f]{6}"), name_of(*parts))
    assert len(name_of("m" * 300, *parts[1:])) <= 120


def test_long_names_stay_apart() -> None:
    found = [
        name_of("m", {"macs": 0.5}, {f"key{k}" * 9: k for k in range(4)} | {"last": last}, {}, 0) for last in (1, 2)
    ]
    assert len(set(found)) == 2
    assert max(map(len, found)) <= 120


def test_values_in_words() -> None:
    assert said("target", {"macs": 0.5, "round_to": 8}) == "macs 0.5, round_to 8"
    assert [said("grow", 1e-3), said("of", "weights"), said("rounds", [1, 2])] == [
        "grow 0.001",
        "of weights",
        "rounds [1, 2]",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": ["magnitude"]}, "the sweep has no 'method'; did you mean 'methods'"),
        ({"out": None}, "lacks 'out'"),
        ({"methods": []}, "names a method"),
        ({"methods": ["magnitude", "magnitude"]}, "two methods are called 'magnitude'; give them labels"),
        ({"methods": [{"label": "x"}]}, r"methods\[0\] lacks 'name'"),
        ({"targets": None}, r"methods\[0\] has no target; give the sweep targets"),
        ({"targets": [{"macs": 0.5}, {"macs": 0.5}]}, r"targets: \{'macs': 0.5\} stands there twice"),
        ({"targets": {"macs": [0.5, 0.3]}}, r"a list of targets is targets: \[\{macs: 0.5\}, \{macs: 0.3\}\]"),
        ({"targets": []}, "targets is an empty list"),
        ({"methods": [{"name": "imp", "target": 0.5, "targets": [0.5]}]}, "has both 'target' and 'targets'"),
        ({"methods": [{"name": "greg1", "grow": 1, "over": {"grow": [1]}}]}, "'grow' is set beside it, too"),
        ({"methods": [{"name": "greg1", "over": {"grow": []}}]}, r"methods\[0\].over.grow is an empty list"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
        ({"seeds": [0, 0]}, "seeds: 0 stands there twice"),
        ({"seeds": []}, "seeds is an empty list"),
        ({"seeds": [-1]}, r"seeds\[0\] must be a whole number of at least 0"),
        ({"over": {"finetune.epochs": None}}, "over.finetune.epochs has no values"),
        ({"methods": [{"name": "greg1", "over": {"grow": None}}]}, r"methods\[0\].over.grow has no values"),
        ({"methods": [{"name": "greg1", "over": {"name": ["imp"]}}]}, r"over: 'name' is no setting of a method"),
        ({"methods": [{"name": "greg1", "over": {"label": ["a", "b"]}}]}, r"over: 'label' is no setting of a method"),
        ({"methods": [{"name": "greg1", "over": {"target": [0.5]}}]}, r"over: 'target' is no setting of a method"),
        ({"methods": [{"name": "greg1", "over": {"targets": [0.5]}}]}, r"over: 'targets' is no setting of a method"),
        ({"over": {"seed": [1]}}, "over: 'seed' is no axis of a sweep"),
        ({"over": {"measure.runs": [1]}}, "networks are timed all together"),
        ({"set": {"method.grow": 1}}, "set: 'method.grow' is for the sweep to say"),
        ({"mixing": {"retrainig": "x"}}, "mixing has no 'retrainig'; did you mean 'retraining'"),
        ({"mixing": {"retraining": ""}}, "mixing.retraining must be text"),
        ({"choose_by": "nets"}, "choose_by must be module:function"),
        ({"workers": 0}, "workers must be a whole number of at least 1"),
        ({"threads": 0}, "threads must be a whole number of at least 1"),
        ({"ray": {"cpus": 1}}, "ray lacks 'address'"),
        ({"ray": {"address": "auto", "gpus": -1}}, "ray.gpus must be a number of at least 0"),
        ({"fast": True}, "has no section 'fast'"),
        (
            {"fast": True, "recipe": {**RECIPE, "method": ["magnitude"], "fast": {"method.0.grow": 1}}},
            "section fast changes its methods alone, and the sweep has methods of its own",
        ),
        (
            {"methods": [{"name": "imp", "target": {"ratio": 0.5}}, {"name": "greg1", "targets": [{"macs": 0.5}]}]},
            "targets: no method takes them, since all in methods have targets of their own, which go first: imp, greg1",
        ),
        (
            {"methods": None, "recipe": {**RECIPE, "method": {"name": "greg1", "target": {"macs": 0.5}}}},
            r"since all in recipe\.method have targets of their own, which go first: greg1",
        ),
        ({"recipe": "nowhere.yaml"}, "no recipe at nowhere.yaml"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sweep(**keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"over": {"finetune.epocs": [1]}}, r"trial magnitude-macs0.5-finetune.epocs1-.*: finetune has no 'epocs'"),
        (
            {"methods": [{"name": "magnitude", "label": "A"}, {"name": "random", "label": "a"}]},
            "two trials are called a-",
        ),
        ({"targets": [{"macs": 0.5, "skip": ["x"]}, {"macs": 0.5, "skip": ["y"]}]}, None),
    ],
)
def test_trials_are_checked_before_any_starts(keys: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert len(set(names(**keys))) == 2
        return
    with pytest.raises(BadInput, match=message):
        expand(sweep(**keys))


def test_a_recipe_file_is_found_beside_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "recipe.yaml").write_text("{model: nets:build, inputs: [[1, 4]], fast: {seed: 5}}")
    (tmp_path / "sweep.yaml").write_text(
        "{recipe: r/recipe.yaml, methods: [magnitude], targets: [{macs: 0.5}], out: o}"
    )
    found = Sweep.load(tmp_path / "sweep.yaml", ["seeds=[1, 2]"], fast=True)
    assert (found.folder, found.seeds, found.recipe["seed"]) == ((tmp_path / "r").resolve(), (1, 2), 5)
    assert [str(change) for change in found.shortened] == ["seed default → 5"]
    with pytest.raises(BadInput, match=r"no sweep at .*nowhere.yaml. Sweeps in .*: sweep.yaml"):
        Sweep.load(tmp_path / "nowhere.yaml")


def test_a_cluster_may_be_its_address_alone() -> None:
    assert sweep(ray="auto", threads=2).cluster == Cluster("auto", 2.0, 0.0, 3)
    assert sweep(ray={"address": "10.0.0.1:6379", "cpus": 4, "gpus": 0.5}).cluster == Cluster(
        "10.0.0.1:6379", 4, 0.5, 3
    )
