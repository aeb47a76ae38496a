"""Methods as plain data: to JSON and back, from recipes, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import METHODS, Choose, Cut, Hold, Mask, Method, Press, Wait, build, from_json, sequence, together
from niwaki.methods import to_json as plain
from niwaki.methods.catalogue import score_from, target_from
from niwaki.penalties import Ridge
from niwaki.schedules import Constant, Ramp

MANY = [
    nk.methods.magnitude(nk.Ratio(0.5)),
    nk.methods.magnitude(nk.Params(0.3, only=("a*", "b"), round_to=8, scope="global"), score=nk.scores.Random(7)),
    nk.methods.greg1(nk.Macs(0.33, skip="fc"), grow=1e-3, every=5, hold=0, parted=None),
    nk.methods.greg1(nk.Ratio({"layer1*": 0.5, "*": 0.25})),
    nk.methods.greg2(nk.Ratio({"layer1*": 0.5, "*": 0.25}), restore=5e-4),
    nk.methods.random(nk.Ratio(0.5), seed=3),
    nk.methods.greg2(nk.Ratio(0.5, scope="global"), of="weights"),
    nk.methods.magnitude(nk.Ratio(0.5), of="weights"),
    nk.methods.fixreg(nk.Ratio(0.5), factor=2.0),
    nk.methods.fixreg(nk.Ratio(0.5), of="weights"),
    nk.methods.random(nk.Ratio(0.5), of="weights"),
    nk.methods.ispasp(nk.Ratio(0.5)),
    nk.methods.ispasp(nk.Macs(0.5), iters=3, fresh=True, mass="signed", statistics="batch", compensate=True, tune=2),
    nk.methods.topk(nk.Params(0.5), samples=7, memory=0),
    nk.methods.gfs(nk.Ratio({"*": 0.2}), candidates=50, reuse=False, seed=3),
    nk.methods.michel(nk.Ratio(0.6), each=True, normalised=True),
    Method(
        "all parts",
        sequence(
            Choose(nk.scores.L2(), nk.Ratio(0.1)),
            together(Press(Ridge(), Ramp(0.1, 2, 0.5)), Wait(3)),
            Press(Ridge(), Constant(2.0)),
            Mask(),
            Hold(2),
            Cut(),
        ),
        ("somewhere",),
    ),
]


@pytest.mark.parametrize("method", MANY, ids=[f"{k} {m.name}" for k, m in enumerate(MANY)])
def test_a_method_goes_to_json_and_back(method: Method) -> None:
    text = json.dumps(plain(method))
    back = from_json(json.loads(text))
    assert back == method
    assert back is not method
    assert json.dumps(plain(back)) == text
    assert copy.deepcopy(method) == method


def test_every_setting_makes_another_method() -> None:
    others = [
        nk.methods.greg1(nk.Ratio(0.5), **more)
        for more in ({}, {"grow": 1e-3}, {"every": 5}, {"ceiling": 2.0}, {"hold": 1}, {"parted": None})
    ]
    assert all((a == b) == (i == j) for i, a in enumerate(others) for j, b in enumerate(others))
    assert nk.methods.greg1(nk.Ratio(0.5)) != nk.methods.greg1(nk.Ratio(0.6))


def test_a_method_prints_on_one_screen() -> None:
    assert len(repr(nk.methods.greg1(nk.Ratio(0.5)).body)) < 24 * 80


def test_unknown_kinds_and_fields_name_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown kind 'Pres'; did you mean 'Press'\? Known: Choose, Constant, Cut"):
        from_json({"kind": "Pres"})
    with pytest.raises(BadInput, match=r"Hold has no 'step'; did you mean 'steps'\? Known: of, penalty, steps\."):
        from_json({"kind": "Hold", "step": 3})
    with pytest.raises(BadInput, match="unknown kind None"):
        from_json({"name": "greg1"})
    with pytest.raises(BadInput, match="steps must be a whole number"):
        from_json({"kind": "Wait", "steps": -3})


@pytest.mark.parametrize("data", [{"kind": "Ramp"}, {"kind": ["Ramp"]}, {"kind": "dict"}])
def test_data_that_lacks_something_is_refused_in_a_sentence(data: Any) -> None:
    with pytest.raises(BadInput):
        from_json(data)


# -- from settings ----------------------------------------------------------------------------------------------


def test_methods_are_built_from_plain_settings() -> None:
    settings = {"target": {"macs": 0.33, "round_to": 8, "skip": ["stem"]}, "every": 5}
    assert build("greg1", settings) == nk.methods.greg1(nk.Macs(0.33, round_to=8, skip=("stem",)), every=5)
    assert build("magnitude", {"target": {"ratio": {"a*": 0.5}}, "score": {"name": "Random", "seed": 3}}) == (
        nk.methods.magnitude(nk.Ratio({"a*": 0.5}), score=nk.scores.Random(3))
    )
    assert build("magnitude", {"target": nk.Params(0.5), "score": "L2"}) == (
        nk.methods.magnitude(nk.Params(0.5), score=nk.scores.L2())
    )
    assert settings == {"target": {"macs": 0.33, "round_to": 8, "skip": ["stem"]}, "every": 5}


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("grag1", {}, r"no method is called 'grag1'; did you mean 'greg1'\? Known: .*greg1.*magnitude"),
        ("greg1", {}, r"method 'greg1' needs a target, for instance target: \{macs: 0.5\}"),
        ("greg1", {"target": {"macs": 0.5}, "evry": 5}, r"method 'greg1' has no 'evry'; did you mean 'every'\?"),
        ("greg1", {"target": {"mac": 0.5}}, r"target has no 'mac'; did you mean 'macs'\?"),
        ("greg1", {"target": {"macs": 0.5, "ratio": 0.5}}, "names exactly one of .*; found macs, ratio"),
        ("greg1", {"target": {"round_to": 8}}, "names exactly one of .*; found none"),
        ("greg1", {"target": 0.5}, r"a target is a mapping such as \{macs: 0.5\}, not 0.5"),
        ("greg1", {"target": {"macs": "half"}}, "above 0 and at most 1, not 'half'"),
        ("greg1", {"target": {"macs": 0.5}, "hold": "long"}, "steps of hold must be a whole number"),
        ("magnitude", {"target": {"macs": 0.5}, "score": "L3"}, r"no score is called 'L3'; did you mean 'L[12]'\?"),
        ("magnitude", {"target": {"macs": 0.5}, "score": {"seed": 1}}, "no score is called ''"),
        (
            "magnitude",
            {"target": {"macs": 0.5}, "score": {"name": "Random", "sead": 1}},
            r"score 'Random' has no 'sead'; did you mean 'seed'\?",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(name: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        build(name, settings)


def test_targets_and_scores_that_are_values_pass_through() -> None:
    target, score = nk.Ratio(0.5), nk.scores.L2()
    assert target_from(target) is target
    assert score_from(score) is score


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_a_card_and_says_where_it_departs(name: str) -> None:
    card = METHODS[name].__doc__ or ""
    for heading in ("What: ", "When to use it: ", "When not: ", "Settings"):
        assert heading in card, heading
    method = (
        build(name, {"target": {"ratio": 0.5}})
        if name in ("magnitude", "greg1", "ispasp", "topk", "gfs", "michel")
        else None
    )
    assert method is None or (method.name == name and method.departs)


def test_methods_say_what_they_need() -> None:
    assert nk.methods.magnitude(nk.Ratio(0.5)).needs == frozenset()
    assert nk.methods.ispasp(nk.Ratio(0.5)).needs == {"data"}
    assert nk.methods.michel(nk.Ratio(0.5)).needs == {"data", "loss"}


def test_every_setting_of_ispasp_makes_another_method() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"iters": 1}, {"samples": 1}, {"fresh": True}, {"mass": "signed"}, {"statistics": "batch"},
        {"compensate": True}, {"ridge": 1.0}, {"reestimate": True}, {"tune": 1}, {"memory": 1},
    ]  # fmt: skip
    others = [nk.methods.ispasp(nk.Ratio(0.5), **more) for more in changes]
    assert all((a == b) == (i == j) for i, a in enumerate(others) for j, b in enumerate(others))


def test_only_training_takes_time() -> None:
    assert not nk.methods.ispasp(nk.Ratio(0.5)).takes_time
    assert nk.methods.ispasp(nk.Ratio(0.5), tune=1).takes_time
    assert not nk.methods.magnitude(nk.Ratio(0.5)).takes_time
    assert nk.methods.greg1(nk.Ratio(0.5)).takes_time
    assert nk.methods.greg1(nk.Ratio(0.5), hold=0).takes_time
