"""Pruning in a loop of Accelerate. (That it makes what a plain loop makes is a law: tests/laws/test_trainers.py.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, BrokenFile, Damaged
from niwaki.methods import Method

accelerate = pytest.importorskip("accelerate")

STEPS = 6
GREG1 = nk.methods.greg1(nk.Ratio(0.5), grow=1.0, every=1, hold=1)
IMP = nk.methods.imp(0.5, rounds=2, steps=2, rewind=1)
X = torch.randn(2 * STEPS, 2, 4, generator=torch.Generator().manual_seed(0))


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


class Loop:
    """A few lines of Accelerate."""

    def __init__(self, method: Method, seed: int = 0) -> None:
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = net(seed)
        self.model, self.optimizer = self.accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.05))
        self.run = nk.Pruning(self.model, self.optimizer, method, X[0])

    def train(self, start: int, stop: int) -> list[int]:
        counts = []
        for part in range(2 * start, 2 * stop):
            with self.accelerator.accumulate(self.model):
                self.accelerator.backward(self.model(X[part]).square().sum())
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), 0.5)
                self.run.step()
                self.optimizer.zero_grad()
            counts.append(self.run.steps)
        return counts


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name in one if not torch.equal(one[name], other[name])]


def test_nothing_happens_between_the_batches_of_a_step() -> None:
    assert Loop(GREG1).train(0, 3) == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("stop", range(1, STEPS))
def test_it_goes_on_from_any_checkpoint_also_after_a_cut(tmp_path: Path, stop: int) -> None:
    whole = Loop(GREG1)
    nk.accelerate_checkpoints(whole.accelerator, whole.run)
    whole.train(0, stop)
    whole.accelerator.save_state(str(tmp_path))
    whole.train(stop, STEPS)
    assert whole.run.finished
    assert whole.model[0].out_features == 3
    again = Loop(GREG1, seed=1)
    nk.accelerate_checkpoints(again.accelerator, again.run)
    again.accelerator.load_state(str(tmp_path))
    again.train(stop, STEPS)
    assert differing(weights(whole.model), weights(again.model)) == []
    assert again.run.steps == STEPS


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_registered_run_goes_on_with_its_masks(tmp_path: Path, stop: int) -> None:
    whole = Loop(IMP)
    whole.accelerator.register_for_checkpointing(whole.run)
    whole.train(0, stop)
    whole.accelerator.save_state(str(tmp_path))
    whole.train(stop, STEPS)
    again = Loop(IMP, seed=1)
    again.accelerator.register_for_checkpointing(again.run)
    again.accelerator.load_state(str(tmp_path))
    again.train(stop, STEPS)
    assert differing(weights(whole.model), weights(again.model)) == []
    assert int((again.model[0].weight == 0).sum()) == 12


def test_a_checkpoint_without_a_run_is_told(tmp_path: Path) -> None:
    loop = Loop(GREG1)
    loop.accelerator.save_state(str(tmp_path))
    nk.accelerate_checkpoints(loop.accelerator, loop.run)
    with pytest.raises(BadInput, match=r"no niwaki_pruning.pt in .*was written without the run"):
        loop.accelerator.load_state(str(tmp_path))


@pytest.mark.parametrize("make", [torch.optim.AdamW, getattr(torch.optim, "Adafactor", torch.optim.Adam)])
def test_a_cut_takes_a_wrapped_optimizer(make: Any) -> None:
    accelerator = accelerate.Accelerator(cpu=True)
    model = net()
    model, optimizer = accelerator.prepare(model, make(model.parameters(), lr=0.05))
    for k in range(3):
        optimizer.zero_grad()
        model(X[k]).square().sum().backward()
        if k == 1:
            nk.cut_(model, nk.plan(nk.trace(model, X[0])), optimizer)
            assert {id(p) for p in optimizer.state} == {id(p) for p in model.parameters() if p in optimizer.state}
            assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
        before = weights(model)
        optimizer.step()
    assert len(differing(before, weights(model))) == 4
    assert model[0].out_features == 3


def test_what_is_no_optimizer_is_told() -> None:
    from niwaki.train.stepping import innermost

    with pytest.raises(BadInput, match=r"expected an optimizer.*found Linear"):
        innermost(nn.Linear(2, 2))


def test_a_job_killed_while_it_saves_goes_on_from_the_state_before(tmp_path: Path) -> None:
    """The state of the run is written before the weights; so the last file that Accelerate writes must be there."""
    whole = Loop(GREG1)
    nk.accelerate_checkpoints(whole.accelerator, whole.run)
    for stop in (1, 2):
        whole.train(stop - 1, stop)
        whole.accelerator.save_state(str(tmp_path / f"step_{stop}"))
    whole.train(2, STEPS)
    assert nk.last_checkpoint(tmp_path) == tmp_path / "step_2"
    last = tmp_path / "step_2" / "random_states_0.pkl"
    for leave in (lambda: last.write_bytes(b""), last.unlink):
        leave()
        with pytest.warns(Damaged, match=r"random_states_0.pkl (is not there|has 0 bytes)"):
            assert nk.last_checkpoint(tmp_path) == tmp_path / "step_1"
    again = Loop(GREG1, seed=1)
    nk.accelerate_checkpoints(again.accelerator, again.run)
    with pytest.raises(BrokenFile, match=r"Go on from .*step_1, the newest"):
        again.accelerator.load_state(str(tmp_path / "step_2"))
    again.accelerator.load_state(str(tmp_path / "step_1"))
    again.train(1, STEPS)
    assert differing(weights(whole.model), weights(again.model)) == []
