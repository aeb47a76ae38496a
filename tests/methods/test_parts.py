"""Parts by themselves, before a view that only remembers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods import Choose, Cut, Hold, Mask, Part, Press, Spread, Wait, sequence, together
from niwaki.methods.press import parting
from niwaki.methods.view import Orders, Pressing
from niwaki.penalties import Penalty, Ridge
from niwaki.schedules import Constant, Ramp
from niwaki.scores import L2
from niwaki.targets import Ratio


class Memory:
    """One group of four units, of worth 1, 2, 3, 4; whoever asks gets units 0 and 2."""

    recording = False

    def __init__(self) -> None:
        self.chosen: dict[str, tuple[int, ...]] = {}
        self.pressure: dict[str, float] = {}
        self.kept_pressure: dict[str, float] = {}
        self.asked: list[Any] = []

    def worth(self, score: Any, of: str = "units") -> dict[str, Tensor]:
        self.asked.append(score)
        return {"g": torch.tensor([1.0, 2.0, 3.0, 4.0])}

    def select(self, worth: Any, target: Any, of: str = "units") -> dict[str, tuple[int, ...]]:
        self.asked.append(target)
        return {"g": (0, 2)}

    def offered(self, target: Any, of: str = "units") -> list[str]:
        self.asked.append(target)
        return ["g"]

    def note(self, **figures: Any) -> None:
        self.asked.append(figures["event"])


def told(part: Part, steps: int, view: Memory | None = None) -> list[tuple[int, bool, bool, bool]]:
    """For every step: how many penalties, mask, cut, over; no step after it is over."""
    view = view or Memory()
    state, rows = part.begin(view), []
    for _ in range(steps):
        outcome = part.step(state, view)
        rows.append((len(outcome.orders.press), bool(outcome.orders.mask), outcome.orders.cut, outcome.over))
        if outcome.over:
            break
    return rows


def test_choose_asks_for_its_score_and_target_and_takes_no_time() -> None:
    view = Memory()
    assert told(Choose(L2(), Ratio(0.5)), 9, view) == [(0, False, False, True)]
    assert view.asked == [L2(), Ratio(0.5), "choose"]
    assert view.chosen == {"g": (0, 2)}


def test_mask_and_cut_are_over_at_once() -> None:
    assert told(Mask(), 9) == [(0, True, False, True)]
    assert told(Cut(), 9) == [(0, False, True, True)]


def test_wait_takes_exactly_its_steps() -> None:
    assert [over for *_, over in told(Wait(3), 9)] == [False, False, True]


def test_hold_presses_on_with_the_factors_it_found() -> None:
    view = Memory()
    view.pressure, view.kept_pressure = {"g": 0.75}, {"g": -0.25}
    part = Hold(2)
    state = part.begin(view)
    for over in (False, True):
        outcome = part.step(state, view)
        assert outcome.orders.press == (Pressing(Ridge(), {"g": 0.75}, {"g": -0.25}),)
        assert outcome.over is over
    assert told(Hold(0), 9) == [(0, False, False, True)]


def test_press_with_nothing_chosen_is_over_at_once() -> None:
    assert told(Press(), 9) == [(1, False, False, True)]


def test_press_grows_per_group_until_it_passes_the_ceiling() -> None:
    view = Memory()
    view.chosen = {"g": (0, 2), "h": ()}
    part = Press(Ridge(), Ramp(0.5, 1), ceiling=1.0, parted=None)
    state = part.begin(view)
    factors = []
    for _ in range(3):
        outcome = part.step(state, view)
        factors.append(dict(outcome.orders.press[0].chosen))
    assert factors == [{"g": 0.5}, {"g": 1.0}, {"g": 1.5}]
    assert outcome.over


def test_spread_presses_all_units_alike_until_the_ceiling_and_then_its_last_steps() -> None:
    """Factors 0.5 and 1 for two steps each; the ceiling is reached, not passed."""
    view, part = Memory(), Spread(Ridge(), Ramp(0.5, 2), ceiling=1.0, target=Ratio(0.5))
    state = part.begin(view)
    assert view.asked == [Ratio(0.5)]
    for factor, over in ((0.5, False), (0.5, False), (1.0, False), (1.0, True)):
        outcome = part.step(state, view)
        assert outcome.orders.press == (Pressing(Ridge(), {"g": factor}, {"g": factor}),)
        assert outcome.over is over


def test_a_thousand_small_steps_reach_the_ceiling() -> None:
    """0.1 + 0.1 + 0.1 is not 0.3 in floating point, and 3 × 0.1 is more."""
    for grow, ceiling, steps in ((1e-5, 0.01, 1000), (0.1, 0.3, 3), (0.7, 2.1, 3)):
        assert len(told(Spread(Ridge(), Ramp(grow), ceiling=ceiling), 2000)) == steps


def test_press_stops_after_its_steps_and_lets_the_kept_ones_grow() -> None:
    view = Memory()
    view.chosen = {"g": (0, 2), "h": ()}
    part = Press(Ridge(), Constant(2.0), ceiling=2.0, parted=None, restore=0.25, steps=3)
    state = part.begin(view)
    for over in (False, False, True):
        outcome = part.step(state, view)
        assert outcome.orders.press == (Pressing(Ridge(), {"g": 2.0}, {"g": -0.25}),)
        assert outcome.over is over


def test_parting_is_the_mean_of_the_kept_and_of_the_chosen() -> None:
    assert parting(torch.tensor([1.0, 2.0, 3.0, 6.0]), (0, 2)) == (4.0, 2.0)
    weights = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert parting(weights, torch.tensor([[True, False], [True, False]])) == (4.0, 2.0)


def test_a_sequence_runs_parts_of_no_time_together_with_the_next_that_takes_some() -> None:
    part = sequence(Choose(), Mask(), Wait(2), Mask(), Wait(1), Cut())
    assert told(part, 9) == [
        (0, True, False, False),  # choose, mask and the first step of waiting
        (0, False, False, False),
        (0, True, False, False),  # mask and wait
        (0, False, True, True),
    ]


def test_a_sequence_stops_at_a_cut_for_what_comes_after_sees_another_model() -> None:
    view = Memory()
    part = sequence(Choose(), Cut(), Choose(), Cut())
    assert told(part, 9, view) == [(0, False, True, False), (0, False, True, True)]
    assert view.asked.count("choose") == 2


def test_together_goes_on_until_the_last_is_over() -> None:
    part = together(Wait(1), sequence(Wait(1), Mask(), Wait(1)), Wait(3))
    assert told(part, 9) == [
        (0, False, False, False),
        (0, True, False, False),
        (0, False, False, True),
    ]


def test_orders_add_up() -> None:
    first = Orders(press=(Pressing(Ridge(), {"a": 1.0}),), mask=({"a": (0,)},))
    second = Orders(press=(Pressing(Ridge(), {"b": 2.0}),), cut=True)
    both = first + second
    assert (len(both.press), both.mask, both.cut) == (2, ({"a": (0,)},), True)


def test_who_takes_time() -> None:
    assert [p.takes_time for p in (Choose(), Mask(), Cut(), Wait(1), Hold(0), Press())] == [False] * 3 + [
        True,
        False,
        True,
    ]
    assert not sequence(Choose(), together(Mask(), Cut())).takes_time
    assert sequence(Choose(), together(Mask(), Wait(1))).takes_time


def test_walking_meets_every_part() -> None:
    inner = together(Wait(1), sequence(Mask()))
    names = [type(p).__name__ for p in sequence(Choose(), inner, Cut()).walk()]
    assert names == ["Sequence", "Choose", "Together", "Wait", "Sequence", "Mask", "Cut"]


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3"])
def test_steps_are_whole_numbers(steps: Any) -> None:
    with pytest.raises(BadInput, match="steps must be a whole number of at least 1"):
        Wait(steps)
    if steps != 0:
        with pytest.raises(BadInput, match="steps of hold must be a whole number of at least 0"):
            Hold(steps)


def test_a_base_part_does_nothing_by_itself() -> None:
    with pytest.raises(NotImplementedError):
        Part().step({}, Memory())


def test_ridge_gives_back_the_weight() -> None:
    assert isinstance(Ridge(), Penalty)
    assert Ridge().gradient(torch.tensor([2.0, -3.0])).tolist() == [2.0, -3.0]
