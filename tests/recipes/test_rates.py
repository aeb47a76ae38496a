"""Schedules of the learning rate: how they are said, and what they give."""

from __future__ import annotations

from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.recipes import Finetune
from niwaki.recipes.rates import Linear, Step, rate, read_schedule


@pytest.mark.parametrize(
    "said", [["1/3", "2/3", "5/6"], [30 / 90, 60 / 90, 75 / 90], ["1/3", 2 / 3, "0.8333333333333334"]]
)
def test_a_step_falls_at_the_epochs_that_it_names(said: list[Any]) -> None:
    step = read_schedule("x", {"step": said})
    rates = [rate(step, epoch / 90) for epoch in range(90)]
    assert rates == [1.0] * 30 + [0.1] * 30 + [0.01] * 15 + [0.001] * 15


def test_the_papers_cifar_schedule() -> None:
    step = read_schedule("x", {"step": [0.5, 0.75]})
    assert [rate(step, e / 120) for e in (0, 59, 60, 89, 90, 119)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_one_step_needs_no_list() -> None:
    assert read_schedule("x", {"step": 0.5}) == Step((0.5,))


def test_the_named_ones() -> None:
    assert [rate("cosine", p) for p in (0, 0.5, 1)] == pytest.approx([1.0, 0.5, 0.0])
    assert [rate("constant", p) for p in (0, 1)] == [1.0, 1.0]


def test_up_and_down_in_straight_lines() -> None:
    line = read_schedule("x", {"linear": {"warmup": 0.2}})
    assert [rate(line, p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert [rate(read_schedule("x", "linear"), p) for p in (0, 0.25, 1)] == [1.0, 0.75, 0.0]
    for said in ("linear", {"linear": {"warmup": 0.2}}):
        tuning = Finetune.read({"epochs": 1, "schedule": said})
        assert isinstance(tuning.schedule, Linear)
        assert tuning.to_json()["schedule"] == said
        assert Finetune.read(tuning.to_json()) == tuning


def test_fine_tuning_says_it_and_says_it_again() -> None:
    read = Finetune.read({"epochs": 90, "schedule": {"step": ["1/3", 0.5]}, "data_args": {"size": 4}})
    assert read.schedule == Step((1 / 3, 0.5))
    assert Finetune.read(read.to_json()) == read


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("step", "x has no 'step'. Known: constant, cosine, linear, {linear: {warmup: 0.1}}, {step: [1/2, 3/4]}."),
        ({"steps": [0.5]}, "x has no 'steps'; did you mean 'step'?"),
        ({"linear": {"warmup": 1}}, "x.linear.warmup must be a share of all steps from 0 to below 1, not 1"),
        ({"linear": {"warmup": "0.1"}}, "x.linear.warmup must be a share"),
        ({"linear": {"warm": 0.1}}, "x.linear has no 'warm'; did you mean 'warmup'?"),
        ({"linear": 0.1}, "x.linear must be a mapping"),
        ({"linear": {}, "step": [0.5]}, "x has no 'step'"),
        ({"step": []}, "x.step must be rising"),
        ({"step": None}, "x lacks 'step'"),
        ({"step": [0.5, 0.5]}, "x.step must be rising shares of the epochs"),
        ({"step": [0.75, 0.5]}, "x.step must be rising shares of the epochs"),
        ({"step": [60, 90]}, "above 0 and below 1, such as 1/2, not 60"),
        ({"step": ["1/0"]}, "not '1/0'"),
        ({"step": ["half"]}, "not 'half'"),
        ({"step": [float("nan")]}, "not nan"),
        ({"step": [[0.5]]}, r"not [0.5]"),
        ({"step": [True]}, "not True"),
    ],
)
def test_refused(value: Any, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_schedule("x", value)
    assert said in str(caught.value)
