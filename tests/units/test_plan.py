"""Plans by hand: what they say, what they refuse, and what a damaged or hostile file is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BrokenFile, IllegalPlan, StalePlan
from niwaki.surgery.cut import plan_of
from niwaki.units import Axis, Choice, Plan

SHAPES = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (3, 6), "b.bias": (3,)}
A, BIAS, B = Axis("a.weight", 0), Axis("a.bias", 0), Axis("b.weight", 1)


Numbers = dict[tuple[str, str], tuple[int, int]]


def plan(*gone: int, numbers: Numbers | None = None) -> Plan:
    choices = {"a": Choice("neuron", 6, gone)}
    return Plan(SHAPES, {A: gone, BIAS: gone, B: gone}, choices, made_by={"by": "hand"}, numbers=numbers or {})


def model() -> nn.Module:
    return nn.ModuleDict({"a": nn.Linear(4, 6), "b": nn.Linear(6, 3)})


def test_a_plan_knows_what_stays() -> None:
    assert plan(1, 4).kept(A) == [0, 2, 3, 5]
    assert plan(1, 4).kept(Axis("b.weight", 0)) == [0, 1, 2]
    assert [plan(1, 4).shape(n) for n in SHAPES] == [(4, 4), (4,), (3, 4), (3,)]
    assert str(plan(1, 4)).splitlines()[1:] == ["  a: 6 → 4 neuron"]
    assert "2 units go" in str(plan(1, 4))


@pytest.mark.parametrize(
    ("axis", "indices", "text"),
    [
        (Axis("c.weight", 0), (0,), r"removes indices of 'c.weight', which is not among its tensors"),
        (Axis("../a.weight", 0), (0,), r"removes indices of '../a.weight', which is not among its tensors"),
        (Axis("a.bias", 1), (0,), r"'a.bias' has 1 dimensions, the plan names dimension 1"),
        (Axis("a.bias", -1), (0,), r"'a.bias' has 1 dimensions, the plan names dimension -1"),
        (A, (-1, 2), r"a.weight\[0\] has indices 0 to 5, the plan removes -1 to 2"),
        (A, (2, 6), r"a.weight\[0\] has indices 0 to 5, the plan removes 2 to 6"),
        (A, (10**30,), r"a.weight\[0\] has indices 0 to 5"),
        (A, (2, 2), r"indices of a.weight\[0\] must ascend without repeats"),
        (A, (3, 2), r"indices of a.weight\[0\] must ascend without repeats"),
        (A, (1, 2.0), r"indices of a.weight\[0\] must be whole numbers, found 2.0"),
        (A, (True,), r"indices of a.weight\[0\] must be whole numbers, found True"),
        (A, ("1",), r"indices of a.weight\[0\] must be whole numbers, found '1'"),
        (A, tuple(range(6)), r"removes all 6 indices of a.weight\[0\]: the layer would be empty"),
    ],
)
def test_what_cannot_be_removed_is_refused(axis: Axis, indices: tuple[Any, ...], text: str) -> None:
    with pytest.raises(IllegalPlan, match=text):
        Plan(SHAPES, {axis: indices})


# -- the model that it meets -----------------------------------------------------------------------------------


def test_a_plan_of_another_model_names_the_first_difference() -> None:
    ours = plan(1)
    ours.check(SHAPES)
    with pytest.raises(StalePlan, match=r"knows a tensor 'a.bias' that this model lacks"):
        ours.check({n: s for n, s in SHAPES.items() if n != "a.bias"})
    with pytest.raises(StalePlan, match=r"'b.weight' has shape \(3, 7\) here, \(3, 6\) in the plan"):
        ours.check({**SHAPES, "b.weight": (3, 7)})
    with pytest.raises(StalePlan, match=r"this one has a tensor 'c.bias' that the plan does not know"):
        ours.check({**SHAPES, "c.bias": (3,)})


@pytest.mark.parametrize("act", [nk.mask, nk.cut, nk.cut_], ids=["mask", "cut", "cut_"])
def test_a_stale_plan_leaves_the_model_untouched(act: Callable[..., Any]) -> None:
    other = nn.ModuleDict({"a": nn.Linear(4, 6), "b": nn.Linear(6, 5)})
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(StalePlan, match=r"'b.weight' has shape \(5, 6\) here, \(3, 6\) in the plan"):
        act(other, plan(1))
    assert list(before) == list(other.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def test_a_second_cut_by_the_same_plan_is_refused() -> None:
    small = nk.cut(model(), plan(1))
    with pytest.raises(StalePlan, match="it has been cut already"):
        nk.cut(small, plan(1))


class Wide(nn.Module):
    """Two layers, and numbers beside them: its own, and those of a shared config."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)
        self.width, self.label = 6, "six"
        self.config = SimpleNamespace(width=6)

    @property
    def double(self) -> int:
        return 2 * self.width


def state(wide: Wide) -> list[Any]:
    """All that a cut could change."""
    own = {k: v for k, v in vars(wide).items() if type(v) in (int, str)}
    return [own, vars(wide.config), wide.config, {k: v.tolist() for k, v in wide.state_dict().items()}, plan_of(wide)]


def test_numbers_follow_the_cut_and_a_shared_config_is_copied() -> None:
    dense = Wide()
    before = state(dense)
    small = nk.cut(dense, plan(1, 4, numbers={("", "width"): (6, 4), ("", "config.width"): (6, 4)}))
    assert (small.width, small.double, small.config.width) == (4, 8, 4)
    assert state(dense) == before

    other = SimpleNamespace(width=6)
    dense.config = other
    nk.cut_(dense, plan(1, 4, numbers={("", "config.width"): (6, 4)}))
    assert (dense.config.width, other.width) == (4, 6)


STALE_NUMBERS: dict[str, tuple[tuple[str, str], str]] = {
    "another module": (("c", "width"), "sets 'width' of a module 'c' that is not here"),
    "a path": (("../../etc", "width"), r"sets 'width' of a module '\.\./\.\./etc' that is not here"),
    "a dunder for a module": (("__class__", "width"), "sets 'width' of a module '__class__' that is not here"),
    "another attribute": (("", "height"), r"\.height should be the number 6, found None"),
    "another value": (("a", "in_features"), r"a\.in_features should be the number 6, found 4"),
    "text": (("", "label"), r"\.label should be the number 6, found 'six'"),
    "a property": (("", "double"), r"\.double should be the number 6, found None"),
    "a method": (("", "forward"), r"\.forward should be the number 6, found None"),
    "another number of the config": (("", "config.height"), r"\.config\.height should be the number 6, found None"),
    "no config": (("a", "config.width"), r"a\.config\.width should be the number 6, found None"),
}


@pytest.mark.parametrize("act", [nk.cut, nk.cut_], ids=["cut", "cut_"])
@pytest.mark.parametrize("name", STALE_NUMBERS)
def test_numbers_that_do_not_fit_leave_the_model_untouched(name: str, act: Callable[..., Any]) -> None:
    place, text = STALE_NUMBERS[name]
    wide = Wide()
    before = state(wide)
    with pytest.raises(StalePlan, match=text):
        act(wide, plan(1, 4, numbers={("", "width"): (6, 4), place: (6, 4)}))
    assert state(wide) == before
    assert wide.a.weight.shape == (6, 4)


@pytest.mark.parametrize(
    ("attribute", "values", "text"),
    [
        ("__class__", (6, 4), "sets the number '__class__' of module 'a', which is no attribute's name"),
        ("_parameters", (6, 4), "which is no attribute's name"),
        ("config.__init__", (6, 4), "which is no attribute's name"),
        ("width", (4, 6), r"sets a\.width from 4 to 6; numbers only shrink"),
        ("width", (6, 0), r"sets a\.width from 6 to 0; numbers only shrink"),
        ("width", (6, 4.0), r"from 6 to 4\.0; numbers only shrink"),
        ("width", (True, True), "from True to True; numbers only shrink"),
    ],
)
def test_numbers_that_cannot_be_are_refused(attribute: str, values: tuple[Any, Any], text: str) -> None:
    with pytest.raises(IllegalPlan, match=text):
        plan(1, numbers={("a", attribute): values})


# -- one plan after another -------------------------------------------------------------------------------------


def test_two_plans_in_a_row_by_hand() -> None:
    """Of 0…5 the first takes 1 and 4; positions 0 and 2 of what is left are 0 and 3."""
    later = Plan(
        {"a.weight": (4, 4), "a.bias": (4,), "b.weight": (3, 4), "b.bias": (3,)},
        {A: (0, 2), BIAS: (0, 2), B: (0, 2)},
        made_by={"by": "later"},
    )
    both = plan(1, 4).then(later)
    assert both.removed == {A: (0, 1, 3, 4), BIAS: (0, 1, 3, 4), B: (0, 1, 3, 4)}
    assert both.tensors == SHAPES
    assert both.made_by == {"steps": [{"by": "hand"}, {"by": "later"}]}


def test_a_plan_of_several_steps_says_what_shrinks() -> None:
    later = Plan({n: plan(1, 4).shape(n) for n in SHAPES}, {A: (0,), BIAS: (0,), B: (0,)})
    assert str(plan(1, 4).then(later)).splitlines() == [
        f"Plan for model {plan().fingerprint}: 3 dimensions of tensors shrink.",
        "  a.weight[0]: 6 → 3", "  a.bias[0]: 6 → 3", "  b.weight[1]: 6 → 3",
    ]  # fmt: skip


def test_numbers_of_two_plans_in_a_row_by_hand() -> None:
    """What both change goes from the first value to the last; what one changes, from its own."""
    shapes = {"a.weight": (4, 4), "a.bias": (4,), "b.weight": (3, 4), "b.bias": (3,)}
    numbers = {("", "width"): (4, 2), ("b", "heads"): (3, 1)}
    later = Plan(shapes, {A: (0, 2), BIAS: (0, 2), B: (0, 2)}, numbers=numbers)
    both = plan(1, 4, numbers={("", "width"): (6, 4), ("a", "depth"): (9, 8)}).then(later)
    assert both.numbers == {("", "width"): (6, 2), ("a", "depth"): (9, 8), ("b", "heads"): (3, 1)}


def test_two_cuts_equal_the_cut_by_both_plans() -> None:
    dense = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.ones(2, 4)
    first = nk.plan(nk.trace(dense, x), target=nk.Ratio(0.25))
    small = nk.cut(dense, first)
    second = nk.plan(nk.trace(small, x), nk.scores.Random(3), nk.Ratio(0.5))
    smaller = nk.cut(small, second)
    at_once = nk.cut(dense, first.then(second))
    assert smaller[0].out_features == 3
    for (name, left), (_, right) in zip(smaller.state_dict().items(), at_once.state_dict().items(), strict=True):
        assert torch.equal(left, right), name
    assert plan_of(smaller).removed == first.then(second).removed


def test_a_later_plan_of_another_model_is_stale() -> None:
    with pytest.raises(StalePlan):
        plan(1).then(plan(1))


# -- on disk ----------------------------------------------------------------------------------------------------


def test_a_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    aliases, numbers = {"tied.weight": "a.weight"}, {("", "config.width"): (6, 4), ("a", "heads"): (3, 3)}
    ours = Plan(SHAPES, plan(1, 4).removed, plan(1, 4).choices, aliases, {"by": {"k": [1, None]}}, numbers)
    assert ours.save(tmp_path / "plan.json") == tmp_path / "plan.json"
    back = Plan.load(tmp_path / "plan.json")
    assert back == ours
    assert back.fingerprint == ours.fingerprint
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.json"]
    assert '"indices": [1, 4]' in (tmp_path / "plan.json").read_text()


def test_the_fingerprint_is_of_names_and_shapes_alone() -> None:
    assert plan(1).fingerprint == plan(2, 3).fingerprint
    assert plan(1).fingerprint == Plan(dict(reversed(SHAPES.items())), {}).fingerprint
    assert plan(1).fingerprint != Plan({**SHAPES, "b.bias": (4,)}, {}).fingerprint


def test_a_file_of_the_first_version_is_read() -> None:
    """It knew no numbers."""
    data = plan(1, 4).to_json()
    assert data["version"] == 2
    old = {key: value for key, value in data.items() if key != "numbers"} | {"version": 1}
    assert Plan.from_json(json.loads(json.dumps(old))) == plan(1, 4)


def broken(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    data = json.loads(json.dumps(plan(1, 4, numbers={("", "width"): (6, 4)}).to_json()))
    change(data)
    return data


def at(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.pop(key)


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "format": (at("format", value="other"), "expected an object with format 'niwaki.plan'"),
    "no format": (without("format"), "expected an object with format 'niwaki.plan'"),
    "version": (at("version", value=3), "version 3 is not 2; this file needs another release of niwaki"),
    "version as text": (at("version", value="1"), "version '1' is not 2"),
    "version of none": (at("version", value=None), "version None is not 2"),
    "no tensors": (without("tensors"), "tensors"),
    "no removed": (without("removed"), "removed"),
    "no groups": (without("groups"), "groups"),
    "no fingerprint": (without("fingerprint"), "the fingerprint does not fit"),
    "fingerprint": (at("fingerprint", value="0" * 16), "the fingerprint does not fit the tensors listed"),
    "changed shape": (at("tensors", "b.weight", value=[5, 6]), "the fingerprint does not fit the tensors listed"),
    "negative shape": (at("tensors", "b.weight", value=[-3, 6]), "expected a whole number of at least 0, found -3"),
    "shape as text": (at("tensors", "b.weight", value="36"), "expected a whole number of at least 0, found '3'"),
    "tensors as list": (at("tensors", value=[1]), "not a usable plan"),
    "index negative": (at("removed", 0, "indices", value=[-1]), "has indices 0 to 5, the plan removes -1 to -1"),
    "index too large": (at("removed", 0, "indices", value=[6]), "has indices 0 to 5, the plan removes 6 to 6"),
    "index huge": (at("removed", 0, "indices", value=[10**400]), "has indices 0 to 5"),
    "index twice": (at("removed", 0, "indices", value=[1, 1]), "must ascend without repeats"),
    "indices unordered": (at("removed", 0, "indices", value=[4, 1]), "must ascend without repeats"),
    "index a fraction": (at("removed", 0, "indices", value=[1.0]), "must be whole numbers, found 1.0"),
    "index not a number": (at("removed", 0, "indices", value=[float("nan")]), "must be whole numbers, found nan"),
    "index true": (at("removed", 0, "indices", value=[True]), "must be whole numbers, found True"),
    "index text": (at("removed", 0, "indices", value="14"), "must be whole numbers, found '1'"),
    "index none": (at("removed", 0, "indices", value=None), "not a usable plan"),
    "all indices": (at("removed", 0, "indices", value=[0, 1, 2, 3, 4, 5]), "the layer would be empty"),
    "unknown tensor": (at("removed", 0, "tensor", value="c.weight"), "'c.weight', which is not among its tensors"),
    "path for a name": (at("removed", 0, "tensor", value="../../x"), "'../../x', which is not among its tensors"),
    "name a number": (at("removed", 0, "tensor", value=3), "expected text, found 3"),
    "dimension": (at("removed", 0, "dim", value=2), "'a.weight' has 2 dimensions, the plan names dimension 2"),
    "dimension negative": (at("removed", 0, "dim", value=-1), "expected a whole number of at least 0, found -1"),
    "axis twice": (at("removed", 1, value={"tensor": "a.weight", "dim": 0, "indices": [2]}), "appears twice"),
    "group size": (at("groups", "a", "units", value=-6), "expected a whole number of at least 0, found -6"),
    "alias": (at("aliases", value={"x": 3}), "expected text, found 3"),
    "aliases none": (at("aliases", value=None), "not a usable plan"),
    "made by text": (at("made_by", value="hand"), "not a usable plan"),
    "numbers none": (at("numbers", value=None), "not a usable plan"),
    "numbers a number": (at("numbers", value=3), "not a usable plan"),
    "numbers text": (at("numbers", value="width"), "not a usable plan"),
    "number of no module": (at("numbers", 0, value={"attribute": "width", "from": 6, "to": 4}), "module"),
    "number without an end": (at("numbers", 0, value={"module": "", "attribute": "width", "from": 6}), "to"),
    "number's module": (at("numbers", 0, "module", value=3), "expected text, found 3"),
    "number's name": (at("numbers", 0, "attribute", value=["width"]), "expected text, found ['width']"),
    "number as text": (at("numbers", 0, "to", value="4"), "expected a whole number of at least 0, found '4'"),
    "number a fraction": (at("numbers", 0, "to", value=4.0), "expected a whole number of at least 0, found 4.0"),
    "number true": (at("numbers", 0, "to", value=True), "expected a whole number of at least 0, found True"),
    "number negative": (at("numbers", 0, "to", value=-4), "expected a whole number of at least 0, found -4"),
    "number of zero": (at("numbers", 0, "to", value=0), "sets .width from 6 to 0; numbers only shrink"),
    "number that grows": (at("numbers", 0, "to", value=10**30), "numbers only shrink"),
    "number twice": (lambda data: data["numbers"].append(dict(data["numbers"][0])), "number .width appears twice"),
    "dunder": (at("numbers", 0, "attribute", value="__class__"), "'__class__' of module '', which is no attribute's"),
    "private": (at("numbers", 0, "attribute", value="_modules"), "which is no attribute's name"),
    "attribute of an attribute": (at("numbers", 0, "attribute", value="a.b"), "which is no attribute's name"),
    "dunder of a config": (at("numbers", 0, "attribute", value="config.__dict__"), "which is no attribute's name"),
    "config of a config": (at("numbers", 0, "attribute", value="config.config.x"), "which is no attribute's name"),
    "config alone": (at("numbers", 0, "attribute", value="config."), "which is no attribute's name"),
    "attribute with an end of line": (at("numbers", 0, "attribute", value="width\n"), "which is no attribute's name"),
    "no attribute": (at("numbers", 0, "attribute", value=""), "which is no attribute's name"),
    "path for an attribute": (at("numbers", 0, "attribute", value="../../etc"), "which is no attribute's name"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plan_that_says_what_cannot_be_is_broken(name: str, tmp_path: Path) -> None:
    change, text = BROKEN[name]
    (tmp_path / "plan.json").write_text(json.dumps(broken(change)))
    with pytest.raises(BrokenFile) as told:
        Plan.load(tmp_path / "plan.json")
    assert str(told.value).startswith("not a usable plan: ")
    assert text in str(told.value)


def test_the_table_of_broken_plans_starts_from_a_sound_one() -> None:
    assert Plan.from_json(broken(lambda data: None)) == plan(1, 4, numbers={("", "width"): (6, 4)})


@pytest.mark.parametrize("data", [None, [], 3, "plan", {}])
def test_what_is_no_plan_is_broken(data: Any) -> None:
    with pytest.raises(BrokenFile, match=r"expected an object with format 'niwaki\.plan'"):
        Plan.from_json(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"format": "niwaki.plan", "ver', b"\xff\xfe\x00", b"[" * 200_000],
    ids=["empty", "opened", "truncated", "no text", "nested without end"],
)
def test_a_file_that_is_no_json_is_broken(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(BrokenFile, match=r"plan\.json is not readable JSON \(truncated\?\)"):
        Plan.load(tmp_path / "plan.json")


def test_a_number_without_end_is_broken(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"format": "niwaki.plan", "version": ' + "1" * 5000 + "}")
    with pytest.raises(BrokenFile):
        Plan.load(tmp_path / "plan.json")


def test_every_truncation_of_a_plan_is_broken(tmp_path: Path) -> None:
    whole = plan(1, 4).save(tmp_path / "plan.json").read_bytes().rstrip()
    for length in range(0, len(whole), 37):
        (tmp_path / "part.json").write_bytes(whole[:length])
        with pytest.raises(BrokenFile):
            Plan.load(tmp_path / "part.json")


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"no plan at .*nowhere\.json"):
        Plan.load(tmp_path / "nowhere.json")
    with pytest.raises(BrokenFile, match="no plan at"):
        Plan.load(tmp_path)
