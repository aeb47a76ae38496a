"""Schedules by hand."""

from __future__ import annotations

from typing import Any

import pytest

from niwaki.errors import BadInput
from niwaki.schedules import Constant, Ramp


def test_a_ramp_grows_at_every_so_many_steps_from_the_first_on() -> None:
    ramp = Ramp(0.25, every=3)
    assert [ramp.updates(s) for s in range(7)] == [True, False, False, True, False, False, True]
    assert [ramp.at(n) for n in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert Ramp(0.5, start=1.0).at(3) == 2.5


def test_a_ramp_is_exact_after_many_updates() -> None:
    """A running sum of ten thousand times 1e-4 would not be 1."""
    assert Ramp(1e-4).at(10_000) == 1.0


def test_a_constant_is_set_once() -> None:
    assert [Constant(2.0).updates(s) for s in range(3)] == [True, False, False]
    assert [Constant(2.0).at(n) for n in range(3)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("grow", [0, -1.0, float("nan")])
def test_a_ramp_must_grow(grow: float) -> None:
    with pytest.raises(BadInput, match="grow must be a number above 0"):
        Ramp(grow)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), "1", None, True])
def test_a_factor_is_a_number(number: Any) -> None:
    """Without one, pressing would never end."""
    with pytest.raises(BadInput, match="start must be a finite number"):
        Ramp(0.1, start=number)
    with pytest.raises(BadInput, match="value must be a finite number"):
        Constant(number)


@pytest.mark.parametrize("every", [0, -2, 1.5, True, "3"])
def test_every_is_a_whole_number(every: Any) -> None:
    with pytest.raises(BadInput, match="every must be a whole number of at least 1"):
        Ramp(1.0, every)


def test_a_number_written_as_text_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadInput, match="grow must be"):
        Ramp("1e-4")  # type: ignore[arg-type]
