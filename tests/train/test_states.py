"""Optimizers that keep the weights a second time must not bring back what is zero; and a run can let go."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import Choose, Cut, Mask, Method, Wait, sequence

INPUTS = torch.ones(4, 6)


class ScheduleFree(torch.optim.Optimizer):
    """The update of schedule-free SGD: gradients are taken between an average ``x`` and the iterate ``z``, which it
    keeps; for evaluation the weights become ``x`` (Defazio et al. 2024, Eq. 2 to 4)."""

    def __init__(self, parameters: Any, lr: float, beta: float = 0.9) -> None:
        super().__init__(parameters, {"lr": lr, "beta": beta, "k": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["k"] += 1
            for y in group["params"]:
                z = self.state[y].setdefault("z", y.detach().clone())
                x = (y - (1 - group["beta"]) * z) / group["beta"]
                z.sub_(group["lr"] * y.grad)
                x.lerp_(z, 1 / group["k"])
                y.copy_(z.lerp(x, group["beta"]))

    @torch.no_grad()
    def eval(self) -> None:
        for group in self.param_groups:
            for y in group["params"]:
                y.copy_((y - (1 - group["beta"]) * self.state[y]["z"]) / group["beta"])


class Doubled(torch.optim.SGD):
    """Steps on a copy of finer type, and writes the weights from it: as mixed precision with master weights does."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                master = self.state[p].setdefault("master", p.detach().double())
                master.sub_(group["lr"] * p.grad)
                p.copy_(master)

    def eval(self) -> None:
        self.step()


MAKERS: dict[str, Callable[[Any], Any]] = {
    "schedule-free": lambda p: ScheduleFree(p, lr=0.1),
    "master weights": lambda p: Doubled(p, lr=0.1),
}


def net(between: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), between(), nn.Linear(8, 4))


def step(run: nk.Pruning) -> None:
    run.optimizer.zero_grad()
    run.model(INPUTS).square().mean().backward()
    run.step()


@pytest.mark.parametrize("optimizer", MAKERS)
@pytest.mark.parametrize("of", ["weights", "units"])
@pytest.mark.parametrize("between", [nn.Tanh, nn.Sigmoid])  # behind which what is masked is 0, and 0.5
def test_a_second_copy_of_the_weights_loses_them_too(optimizer: str, of: Any, between: type[nn.Module]) -> None:
    model = net(between)
    method = Method("mine", sequence(Wait(2), Choose(target=nk.Ratio(0.5), of=of), Mask(), Wait(3)))
    run = nk.Pruning(model, MAKERS[optimizer](model.parameters()), method, INPUTS)
    while not run.finished:
        step(run)
    zero = {name: p == 0 for name, p in model.named_parameters()}
    assert int(zero["0.weight"].sum()) == 24
    run.optimizer.eval()
    assert all(bool((model.get_parameter(name)[gone] == 0).all()) for name, gone in zero.items())
    assert all(bool(p.any()) for p in model.parameters())


@pytest.mark.parametrize("optimizer", [*MAKERS, "sgd"])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_proximal_penalty_empties_a_second_copy_too(optimizer: str, resumed: bool) -> None:
    method = nk.methods.spur(0.0, rounds=1, steps=20, alpha=1.0, proximal=True)

    def fresh() -> nk.Pruning:
        model = net()
        make = MAKERS.get(optimizer, lambda p: torch.optim.SGD(p, lr=0.1))
        return nk.Pruning(model, make(model.parameters()), method, INPUTS)

    run = fresh()
    for _ in range(2):
        step(run)
    if resumed:
        early, run = run, fresh()
        run.load_state_dict(early.state_dict())
        run.model.load_state_dict(early.model.state_dict())
        run.optimizer.load_state_dict(copy.deepcopy(early.optimizer.state_dict()))
    for _ in range(18):
        step(run)
    if hasattr(run.optimizer, "eval"):
        run.optimizer.zero_grad(set_to_none=False)
        run.optimizer.eval()
    assert run.state_dict()["copies"] == {"schedule-free": ["z"], "master weights": ["master"], "sgd": []}[optimizer]
    assert all(bool((p == 0).all()) for p in run.model.parameters() if p.dim() > 1)


def test_a_second_copy_is_looked_for_when_weights_first_move() -> None:
    """In the first step only the biases have gradients."""
    model = net()
    method = nk.methods.spur(0.0, rounds=1, steps=3, alpha=1.0, proximal=True)
    run = nk.Pruning(model, torch.optim.AdamW(model.parameters(), lr=0.1), method, INPUTS)
    for bias in (model[0].bias, model[2].bias):
        bias.grad = torch.ones_like(bias)
    run.step()
    assert run.state_dict()["copies"] is None
    step(run)
    assert run.state_dict()["copies"] == []


def test_whole_numbers_and_other_shapes_are_left_alone() -> None:
    """A state of 8 bits is a code, of which 0 need not stand for 0."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    codes, sums = torch.full((8, 6), 7, dtype=torch.uint8), torch.ones(8)
    optimizer.state[model[0].weight].update(codes=codes, sums=sums)
    run = nk.Pruning(
        model, optimizer, Method("mine", sequence(Choose(target=nk.Ratio(0.5), of="weights"), Mask())), INPUTS
    )
    step(run)
    assert bool((codes == 7).all())
    assert bool((sums == 1).all())


class Preconditioned(torch.optim.SGD):
    """Keeps a square matrix for each dimension, as Shampoo does; in a tuple for biases."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() == 1:
                    self.state[p] = (torch.zeros(1),)
                    continue
                left = self.state[p].setdefault("left", torch.eye(len(p)))
                p.sub_(group["lr"] * torch.linalg.solve(left + p.grad @ p.grad.t(), p.grad))


@pytest.mark.parametrize("of", ["weights", "units"])
def test_a_preconditioner_is_no_copy_though_it_is_square_by_chance(of: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4))
    optimizer = Preconditioned(model.parameters(), lr=0.1)
    method = Method("mine", sequence(Wait(2), Choose(target=nk.Ratio(0.5), of=of), Mask(), Wait(2)))
    run = nk.Pruning(model, optimizer, method, INPUTS)
    while not run.finished:
        step(run)
    assert torch.equal(optimizer.state[model[0].weight]["left"], torch.eye(6))


def test_a_run_state_from_before_there_were_stacks_goes_on() -> None:
    method = nk.methods.spur(0.5, rounds=1, steps=3, alpha=1e-3)
    runs = [nk.Pruning(m, torch.optim.SGD(m.parameters(), lr=0.1), method, INPUTS) for m in (net(), net())]
    step(runs[0])
    state = runs[0].state_dict()
    (found,) = [inner for inner in walked(state["state"]) if "stacks" in inner]
    del found["stacks"]
    runs[1].load_state_dict(state)
    runs[1].model.load_state_dict(runs[0].model.state_dict())
    for run in runs:
        step(run)
    assert torch.equal(runs[0].model[0].weight, runs[1].model[0].weight)


def walked(state: Any) -> list[dict[str, Any]]:
    inside = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [*([state] if isinstance(state, dict) else []), *(each for value in inside for each in walked(value))]


def test_a_run_that_is_done_lets_go() -> None:
    model = net()
    method = Method("mine", sequence(Choose(target=nk.Ratio(0.5), of="weights"), Mask(), Wait(2)))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, INPUTS)
    with pytest.raises(BadInput, match=r"mine is not done: go on until run.finished"):
        run.release()
    while not run.finished:
        step(run)
    gone = model[0].weight == 0
    assert int(gone.sum()) == 24
    assert not bool(gradient(model)[gone].any())
    run.release()
    assert bool(gradient(model)[gone].all())
    step(run)
    assert not bool((model[0].weight[gone] == 0).any())


def gradient(model: nn.Sequential) -> Tensor:
    model.zero_grad()
    model(INPUTS).square().mean().backward()
    grad = model[0].weight.grad
    assert grad is not None
    return grad


def test_a_run_lets_go_of_masked_units_before_a_cut_that_never_comes() -> None:
    model = net()
    method = Method("mine", sequence(Choose(target=nk.Ratio(0.5)), Mask(), Wait(1)))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, INPUTS)
    while not run.finished:
        step(run)
    assert int((model[0].weight == 0).all(1).sum()) == 4
    run.release()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    step(run)
    assert bool(model[0].weight.any(1).all())


def test_what_differs_from_another_methods_state_is_told() -> None:
    def run(share: float, *more: Any) -> nk.Pruning:
        model = net()
        method = Method("mine", sequence(Choose(target=nk.Ratio(share)), *more, Cut()))
        return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, INPUTS)

    with pytest.raises(BadInput) as caught:
        run(0.25).load_state_dict(run(0.5).state_dict())
    assert str(caught.value).endswith("than this mine: body.parts[0].target.removed is 0.5 there and 0.25 here")
    with pytest.raises(BadInput, match=r"body.parts is \[.* there and \[.* here"):
        run(0.25).load_state_dict(run(0.25, Mask()).state_dict())
