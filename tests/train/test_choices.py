"""One choice after another: what is masked is not lost at a cut, and what would be forgotten is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import Choose, Cut, Mask, Method, Part, Press, Wait, sequence, together
from niwaki.schedules import Ramp
from niwaki.scores import L1
from niwaki.surgery.decide import tried

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    wide = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)]
    return nn.Sequential(*wide)


def of(pattern: str, share: float = 0.5) -> Choose:
    return Choose(L1(), nk.Ratio({pattern: share}))


def run_of(*parts: Part, model: nn.Module | None = None) -> nk.Pruning:
    model = net() if model is None else model
    return nk.Pruning(model, torch.optim.AdamW(model.parameters(), lr=1e-2), Method("mine", sequence(*parts)), X)


def train(run: nk.Pruning, steps: int = 100) -> None:
    while not run.finished and steps:
        run.optimizer.zero_grad()
        run.model(X).square().mean().backward()
        run.step()
        steps -= 1


def widths(model: nn.Module) -> tuple[int, int]:
    return model[0].out_features, model[3].out_features  # type: ignore[index]


@pytest.mark.parametrize("waits", [0, 3])
def test_a_cut_removes_what_is_masked_in_groups_without_a_choice_now(waits: int) -> None:
    wait = (Wait(waits),) if waits else ()
    run = run_of(of("0"), Mask(), *wait, of("3"), Cut(), Wait(2))
    train(run)
    assert widths(run.model) == (4, 3)


def test_a_cut_removes_what_several_masks_hold() -> None:
    run = run_of(of("0"), Mask(), of("3"), Mask(), Wait(2), of("0", 0.75), Cut(), Wait(2))
    train(run)
    assert widths(run.model) == (2, 3)
    run = run_of(of("0"), Mask(), Wait(1), of("3"), Mask(), Cut(), Wait(2))
    train(run)
    assert widths(run.model) == (4, 3)


def test_what_is_masked_is_zero_until_it_is_cut_and_resumes_so() -> None:
    parts = (of("0"), Mask(), Wait(3), of("3"), Cut(), Wait(2))
    whole, begun = run_of(*parts), run_of(*parts)
    train(begun, 2)
    assert int((begun.model[0].weight == 0).all(1).sum()) == 4  # type: ignore[index]
    again = run_of(*parts)
    again.load_state_dict(copy.deepcopy(begun.state_dict()))
    again.model.load_state_dict(begun.model.state_dict())
    again.optimizer.load_state_dict(copy.deepcopy(begun.optimizer.state_dict()))
    train(whole)
    train(again)
    assert widths(again.model) == (4, 3)
    for mine, theirs in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_new_choice_of_a_group_takes_the_place_of_its_mask() -> None:
    run = run_of(of("0", 0.25), Mask(), Wait(1), of("0", 0.5), Cut(), Wait(1))
    train(run)
    assert widths(run.model) == (4, 6)


PRESS = Press(schedule=Ramp(0.1, 1), steps=3)


def test_choices_side_by_side_are_refused() -> None:
    both = together(sequence(of("0"), PRESS), sequence(of("3"), PRESS))
    with pytest.raises(BadInput, match="mine has parts side by side that choose, and there is one choice at a time"):
        run_of(both, Cut())


def test_a_choice_that_was_pressed_is_not_forgotten_silently() -> None:
    with pytest.raises(BadInput, match=r"presses what it chose and then chooses anew.*Put a Cut\(\) or a Mask\(\)"):
        run_of(of("0"), PRESS, of("3"), PRESS, Cut())


@pytest.mark.parametrize("end", [Mask(), Cut()])
def test_pressed_choices_may_follow_each_other(end: Part) -> None:
    run = run_of(of("0"), PRESS, end, of("3"), PRESS, Cut())
    train(run)
    assert widths(run.model) == (4, 3)


def test_a_frozen_part_of_what_is_pressed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.more, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            y: torch.Tensor = self.head(x + self.more(x.relu()))
            return y

    model = Stream()
    model.stem.weight.requires_grad_(False)
    run_of(Choose(L1(), nk.Ratio(0.5)), PRESS, Cut(), model=model)
    (told,) = caplog.messages
    assert told.startswith("mine presses units of 'stem', and a part of what makes them is frozen (stem.weight): it is")


def test_a_share_that_takes_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    target = nk.Ratio(0.5, round_to=8)
    small = nk.prune(net(), X, nk.methods.magnitude(target))
    assert widths(small) == (8, 6)
    (told,) = caplog.messages
    assert "takes no unit: no group can lose any down to a multiple of 8 ('0' of 8, '3' of 6)" in told
    caplog.clear()
    nk.plan(nk.trace(net(), X), target=target)
    assert "takes no unit: no group can lose any" in caplog.text
    caplog.clear()
    nk.plan(nk.trace(net(), X), target=nk.Ratio(0.0))
    assert caplog.messages == []


def test_plans_that_are_only_tried_are_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A target in milliseconds tries shares of units that nobody asked for."""
    graph, target = nk.trace(net(), X), nk.Ratio(0.1, round_to=16)
    assert not tried(graph, L1(), target).removed
    assert caplog.messages == []
    nk.plan(graph, target=target)
    assert "takes no unit" in caplog.text
