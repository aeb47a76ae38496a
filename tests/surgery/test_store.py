"""Save and load: bit for bit, into the user's own class, and nothing that is damaged gets in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, BrokenFile, StalePlan
from niwaki.units import Plan

WEIGHTS = "model.safetensors"


class Tied(nn.Module):
    """Two names for one weight, statistics, a buffer that is saved and one that is not."""

    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.inn, self.norm, self.out = nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 4)
        self.again = nn.Linear(4, hidden, bias=False)
        self.again.weight = self.inn.weight
        self.register_buffer("shift", torch.ones(hidden))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.inn(x) + self.shift).relu() + self.again(x)) + self.scratch.sum()


def dense(seed: int = 0) -> Tied:
    torch.manual_seed(seed)
    model = Tied()
    with torch.no_grad():
        for t in [*model.parameters(), model.norm.running_mean, model.shift]:
            t.normal_()
    return model.eval()


def small() -> Tied:
    model = dense()
    return nk.cut(model, nk.plan(nk.trace(model, torch.ones(2, 4)), nk.scores.Random(2)))


def same(left: nn.Module, right: nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_a_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = small()
    assert nk.save(model, tmp_path / "out") == tmp_path / "out"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["load.py", WEIGHTS, "modules.json", "plan.json"]
    back = nk.load(tmp_path / "out", dense(seed=9))
    assert same(model, back)
    assert isinstance(back, Tied)
    assert back.inn.out_features == 3
    assert back.again.weight is back.inn.weight
    assert torch.equal(model(torch.ones(2, 4)), back(torch.ones(2, 4)))


def test_weights_under_other_names_in_a_state_dict_are_saved(tmp_path: Path) -> None:
    """Checkpointed activations rename what a state dict tells."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            checkpoint_wrapper(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))), nn.Linear(4, 2)
        )

    model, x = build(0), torch.ones(2, 4)
    cut = nk.cut(model, nk.plan(nk.trace(model, x)))
    back = nk.load(nk.save(cut, tmp_path), build(9))
    assert len(load_file(tmp_path / WEIGHTS)) == 6
    assert torch.equal(back(x), cut(x))


def test_a_dense_model_on_meta_is_refused(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    with pytest.raises(BadInput, match=r"'inn\.weight' of the dense model is on the meta device.*build it on the CPU"):
        nk.load(tmp_path, Tied().to("meta"))


class Scaled(nn.Linear):
    """Keeps what is neither a parameter nor a buffer."""

    history: object = None

    def get_extra_state(self) -> object:
        return self.history


@pytest.mark.parametrize("history", [None, {}, {"amax": 3.0}, torch.ones(2)], ids=["none", "empty", "dict", "tensor"])
def test_state_that_no_file_of_tensors_holds_is_told(
    history: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Scaled(8, 2))
    model[2].history = history
    graph = nk.trace(model, torch.ones(1, 4))
    nk.save(nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5))), tmp_path)
    told = [record.getMessage() for record in caplog.records if "get_extra_state" in record.getMessage()]
    holds = history is not None and len(history) > 0  # type: ignore[arg-type]
    assert len(told) == holds
    assert all(line.startswith("'2' keep(s) state") for line in told)


def test_shared_tensors_are_written_once(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    assert set(load_file(tmp_path / WEIGHTS)) == set(dense().state_dict()) - {"again.weight"}


def test_the_dense_model_is_left_alone_and_a_builder_will_do(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    ours = dense(seed=9)
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    nk.load(tmp_path, ours)
    assert all(torch.equal(v, before[k]) for k, v in ours.state_dict().items())
    assert ours.inn.out_features == 6
    assert same(nk.load(tmp_path, dense), small())


def test_a_loaded_model_can_be_cut_and_saved_again(tmp_path: Path) -> None:
    nk.save(small(), tmp_path / "one")
    once = nk.load(tmp_path / "one", dense)
    twice = nk.cut(once, nk.plan(nk.trace(once, torch.ones(2, 4)), target=nk.Ratio(0.3)))
    nk.save(twice, tmp_path / "two")
    back = nk.load(tmp_path / "two", dense)
    assert back.inn.out_features == 2
    assert same(twice, back)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    model = small().to(dtype)
    nk.save(model, tmp_path)
    assert same(nk.load(tmp_path, dense), model)


def test_a_model_that_was_never_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Tied was not cut by niwaki, so there is no plan to save with it"):
        nk.save(dense(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_dense_model_is_refused(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    with pytest.raises(StalePlan, match=r"'inn.weight' has shape \(8, 4\) here, \(6, 4\) in the plan"):
        nk.load(tmp_path, Tied(8))
    with pytest.raises(BadInput, match="dense_model must be a module or a function that builds one, not dict"):
        nk.load(tmp_path, dict)


@pytest.mark.parametrize("missing", [WEIGHTS, "plan.json"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(BrokenFile, match=f"no (weights|plan) at .*{missing}"):
        nk.load(tmp_path, dense)


def test_every_truncation_of_the_weights_is_refused(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    ours = dense(seed=9)
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / WEIGHTS).write_bytes(whole[:length])
        with pytest.raises(BrokenFile, match="not a readable safetensors file"):
            nk.load(tmp_path, ours)
    assert ours.inn.out_features == 6


def test_a_file_of_another_kind_is_refused_unread(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    torch.save({"inn.weight": torch.ones(3, 4)}, tmp_path / WEIGHTS)
    with pytest.raises(BrokenFile, match="not a readable safetensors file"):
        nk.load(tmp_path, dense)


def rewritten(folder: Path, **changes: Any) -> None:
    """The saved weights with some tensors exchanged (or left out, for None); __ for the dot."""
    tensors = load_file(folder / WEIGHTS) | {k.replace("__", "."): v for k, v in changes.items()}
    save_file({k: v for k, v in tensors.items() if v is not None}, folder / WEIGHTS)


def test_weights_that_do_not_fit_the_plan_are_refused(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    for changes, text in (
        ({"inn__bias": None}, "it lacks 'inn.bias'"),
        ({"spare": torch.ones(1)}, "it has a tensor 'spare' that the model lacks"),
        ({"inn__weight": torch.ones(6, 4)}, r"'inn.weight' has shape \(6, 4\), the plan leaves \(3, 4\)"),
    ):
        nk.save(small(), tmp_path)
        rewritten(tmp_path, **changes)
        with pytest.raises(BrokenFile, match=text):
            nk.load(tmp_path, dense)


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    rewritten(tmp_path, inn__weight=torch.ones(3, 4, dtype=torch.int64))
    with pytest.raises(BrokenFile, match=r"inn\.weight"):
        nk.load(tmp_path, dense)


def test_a_plan_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    data = json.loads((tmp_path / "plan.json").read_text())
    data["removed"][0]["indices"] = data["removed"][0]["indices"][:1]
    (tmp_path / "plan.json").write_text(json.dumps(data))
    with pytest.raises(BrokenFile, match="does not fit the plan beside it"):
        nk.load(tmp_path, dense)


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    model = small()
    nk.save(model, tmp_path)
    with torch.no_grad():
        model.inn.weight.add_(1.0)
    nk.save(model, tmp_path)
    assert same(nk.load(tmp_path, dense), model)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["load.py", WEIGHTS, "modules.json", "plan.json"]


# -- hostile folders ---------------------------------------------------------------------------------------------------


def everything(model: nn.Module) -> dict[str, Any]:
    """All that loading could change: tensors, plain attributes, classes."""
    found: dict[str, Any] = {k: v.tolist() for k, v in model.state_dict().items()}
    for name, module in model.named_modules():
        found |= {f"{name}/{k}": v for k, v in vars(module).items() if type(v) in (int, float, str, bool)}
        found[f"{name}/class"] = type(module)
    return found


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def act(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return act


def sign(data: dict[str, Any]) -> None:
    """A forger can compute the fingerprint."""
    shapes = {name: tuple(shape) for name, shape in data["tensors"].items()}
    data["fingerprint"] = Plan(shapes, {}).fingerprint


def number(module: str, attribute: str, before: Any = 6, after: Any = 3) -> Callable[[dict[str, Any]], None]:
    row = {"module": module, "attribute": attribute, "from": before, "to": after}
    return lambda data: data["numbers"].append(row)


def renamed(data: dict[str, Any]) -> None:
    """A tensor whose name is a path, listed and signed."""
    data["tensors"]["../../../etc/passwd"] = data["tensors"].pop("inn.weight")
    for row in data["removed"]:
        if row["tensor"] == "inn.weight":
            row["tensor"] = "../../../etc/passwd"


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], type[Exception], str]] = {
    "a path for a tensor": (renamed, StalePlan, r"knows a tensor '\.\./\.\./\.\./etc/passwd' that this model lacks"),
    "a path in what is removed": (
        change("removed", 0, "tensor", to="../x"),
        BrokenFile,
        r"'\.\./x', which is not among",
    ),
    "a huge index": (change("removed", 0, "indices", to=[10**30]), BrokenFile, "has indices 0 to 5"),
    "a huge shape": (change("tensors", "inn.bias", to=[10**12]), StalePlan, r"'inn\.bias' has shape \(6,\) here"),
    "a negative index": (change("removed", 0, "indices", to=[-1]), BrokenFile, "the plan removes -1"),
    "an index twice": (change("removed", 0, "indices", to=[1, 1]), BrokenFile, "must ascend without repeats"),
    "all indices": (change("removed", 0, "indices", to=list(range(6))), BrokenFile, "the layer would be empty"),
    "a dimension too many": (change("removed", 0, "dim", to=7), BrokenFile, "the plan names dimension 7"),
    "text for indices": (change("removed", 0, "indices", to="012"), BrokenFile, "must be whole numbers"),
    "a class for a number": (number("", "__class__"), BrokenFile, "'__class__' of module '', which is no attribute"),
    "a dict for a number": (number("inn", "__dict__"), BrokenFile, "'__dict__' of module 'inn', which is no attribute"),
    "parameters for a number": (number("inn", "_parameters"), BrokenFile, "which is no attribute's name"),
    "a path for an attribute": (number("", "inn.weight"), BrokenFile, "which is no attribute's name"),
    "a method for a number": (number("", "forward"), StalePlan, r"\.forward should be the number 6, found"),
    "a flag for a number": (number("", "training", 1, 1), StalePlan, r"\.training should be the number 1, found False"),
    "a parameter for a number": (number("inn", "weight"), StalePlan, r"inn\.weight should be the number 6"),
    "a module that is not there": (number("../out", "x"), StalePlan, r"module '\.\./out' that is not here"),
    "an alias of nothing": (change("aliases", to={"a": {}}), BrokenFile, "expected text"),
    "rows for tensors": (change("tensors", to=[["inn.weight", [6, 4]]]), BrokenFile, "not a usable plan"),
    "no rows": (change("removed", to=None), BrokenFile, "not a usable plan"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plan_is_refused_and_the_model_is_left_alone(name: str, tmp_path: Path) -> None:
    spoil, kind, text = HOSTILE[name]
    nk.save(small(), tmp_path)
    data = json.loads((tmp_path / "plan.json").read_text())
    spoil(data)
    if isinstance(data["tensors"], dict):
        sign(data)
    (tmp_path / "plan.json").write_text(json.dumps(data))
    ours = dense(seed=9)
    before = everything(ours)
    with pytest.raises(kind, match=text):
        nk.load(tmp_path, ours)
    assert everything(ours) == before
    with pytest.raises((BrokenFile, StalePlan)):
        nk.load(tmp_path, dense)


def test_the_hostile_plans_start_from_a_sound_one(tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    data = json.loads((tmp_path / "plan.json").read_text())
    sign(data)
    (tmp_path / "plan.json").write_text(json.dumps(data))
    assert same(nk.load(tmp_path, dense(seed=9)), small())


@pytest.mark.parametrize("removed", [[99], [1, 1], [2, 1], list(range(6))])
def test_units_that_a_group_cannot_have_are_broken(removed: list[int], tmp_path: Path) -> None:
    nk.save(small(), tmp_path)
    data = json.loads((tmp_path / "plan.json").read_text())
    next(iter(data["groups"].values()))["removed"] = removed
    with pytest.raises(BrokenFile):
        Plan.from_json(data)


def test_a_link_out_of_the_folder_changes_nothing_outside(tmp_path: Path) -> None:
    """Writing goes beside the link and takes its place; what it points at stays."""
    outside = tmp_path / "outside.json"
    outside.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "plan.json").symlink_to(outside)
    nk.save(small(), folder)
    assert outside.read_text() == "precious"
    assert same(nk.load(folder, dense(seed=9)), small())
