"""A cut inside training loses nothing: moments, schedulers, averages, scalers, compiled steps; or it is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import niwaki as nk
from niwaki.errors import BadInput, CannotFollow
from niwaki.methods import Choose, Cut, Mask, Method, Wait, sequence
from niwaki.surgery.states import RULES
from niwaki.testing import laws
from niwaki.testing.zoo import specimen
from tests.laws.table import OPTIMIZERS, work

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def cutting(wait: int = 2) -> Method:
    return Method("cutting", sequence(Wait(wait), Choose(nk.scores.L1(), nk.Ratio(0.5)), Cut(), Wait(3)))


def loss_of(model: Any) -> Tensor:
    return model(X).square().mean()


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def train(run: nk.Pruning, loss: Callable[[Any], Tensor] = loss_of, steps: int = 1) -> None:
    for _ in range(steps):
        run.optimizer.zero_grad()
        loss(run.model).backward()
        run.step()


def transformers_adafactor(parameters: Iterable[Any]) -> torch.optim.Optimizer:
    optimization = pytest.importorskip("transformers.optimization")
    return optimization.Adafactor(parameters, lr=1e-2, scale_parameter=False, relative_step=False, beta1=0.9)


EVERY = {**OPTIMIZERS, "transformers_adafactor": transformers_adafactor}


@pytest.mark.parametrize("optimizer", EVERY)
def test_every_live_parameter_still_moves(optimizer: str) -> None:
    model = net()
    run = nk.Pruning(model, EVERY[optimizer](model.parameters()), cutting(), X)
    train(run, steps=3)
    assert model[0].out_features == 3
    before = weights(model)
    train(run)
    assert [torch.equal(a, b) for a, b in zip(before, weights(model), strict=True)] == [False] * 4
    assert {id(p) for p in run.optimizer.state} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", ["glu_mlp", "vgg_pooled"])
def test_factored_moments_of_transformers_follow(name: str) -> None:
    assert laws.optimizer_follows(work(specimen(name)), transformers_adafactor) is None


def test_factors_by_hand() -> None:
    """Of G² with rows (1, 3) and columns (1, 2, 3): row 1 and column 2 stay, and stand for 3 × 2 as before."""
    squares = torch.tensor([[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]])
    rows, columns = squares.mean(1, keepdim=True), squares.mean(0, keepdim=True)
    assert torch.allclose(rows * columns / rows.mean(), squares)
    from niwaki.surgery.states import Shrink, factors

    kept_rows, kept_columns = factors(rows, columns, Shrink((2, 3), {0: (0,), 1: (0, 2)}))
    assert kept_rows.tolist() == [[6.0]]
    assert kept_columns.tolist() == [[6.0]]
    untouched = factors(rows, columns, Shrink((2, 3), {}))
    assert torch.equal(untouched[0], rows)
    assert torch.equal(untouched[1], columns)


def test_a_scheduler_acts_on_the_new_parameters() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    run = nk.Pruning(model, optimizer, cutting(), X)
    for _ in range(3):
        train(run)
        scheduler.step()
    before, rate = weights(model), 0.5**4
    train(run)
    for old, p in zip(before, model.parameters(), strict=True):
        assert torch.allclose(p, old - rate * p.grad, atol=1e-7)


# -- several optimizers -------------------------------------------------------------------------------------------


def two_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """As users of Muon have them."""
    matrices = torch.optim.SGD([p for p in model.parameters() if p.dim() > 1], lr=0.1, momentum=0.9)
    return [matrices, torch.optim.AdamW([p for p in model.parameters() if p.dim() < 2], lr=0.1, fused=True)]


@pytest.mark.parametrize("how", ["plain", "scaled", "unscaled before"])
def test_two_optimizers_step_and_are_cut_together(how: str) -> None:
    model, alone = net(), net()
    run = nk.Pruning(model, two_optimizers(model), cutting(), X)
    scaler = torch.amp.GradScaler("cpu", 2.0**10) if how != "plain" else None
    by_hand = two_optimizers(alone)
    for step in range(4):
        if step == 2:  # the cut is by the second step
            before = weights(model)
        run.optimizer.zero_grad()
        loss = loss_of(model)
        (loss if scaler is None else scaler.scale(loss)).backward()
        for each in by_hand:
            if how == "unscaled before" and scaler is not None:
                scaler.unscale_(run.optimizer.each[by_hand.index(each)])  # type: ignore[attr-defined]
            each.zero_grad()
        run.step(scaler)
        if scaler is not None:
            scaler.update()
        if step == 0:
            loss_of(alone).backward()
            [each.step() for each in by_hand]
            assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(weights(alone), weights(model), strict=True))
    assert model[0].out_features == 3
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=False) if a.shape == b.shape)
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()} == {id(p) for p in run.optimizer.state}


@pytest.mark.parametrize("overflow", [False, True])
def test_optimizers_of_accelerate_share_a_scaler(overflow: bool) -> None:
    """Each would update it by itself, and the gradients of the next be unscaled twice."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator(cpu=True)
    model, alone = net(), net()
    scaler = torch.amp.GradScaler("cpu", 2.0**10)
    wrapped = [accelerate.optimizer.AcceleratedOptimizer(each, scaler=scaler) for each in two_optimizers(model)]
    run = nk.Pruning(model, wrapped, cutting(), X)
    before = weights(model)
    (scaler.scale(loss_of(model)) * (float("inf") if overflow else 1.0)).backward()
    run.step()
    loss_of(alone).backward()
    for each in two_optimizers(alone):
        each.step()
    wanted = before if overflow else weights(alone)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(wanted, weights(model), strict=True))


def test_joined_optimizers_keep_their_states_and_refuse_what_they_cannot() -> None:
    model = net()
    run = nk.Pruning(model, two_optimizers(model), cutting(), X)
    loss_of(model).backward()
    run.step()
    told = run.optimizer.state_dict()
    other = net()
    again = nk.Pruning(other, two_optimizers(other), cutting(), X)
    again.optimizer.load_state_dict(told)
    assert [len(each.state) for each in again.optimizer.each] == [len(each["state"]) for each in told["each"]]  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="take no closure"):
        run.optimizer.step(lambda: 0.0)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="add the group to the one"):
        run.optimizer.add_param_group({"params": []})


def test_an_optimizer_that_would_keep_old_parameters_is_refused() -> None:
    model = net()
    one, other = two_optimizers(model)
    with pytest.raises(BadInput, match=r"cutting cuts parameters .* not hold \('0\.bias'\): .*optimizer=\[one, other"):
        nk.Pruning(model, one, cutting(), X)
    run = nk.Pruning(model, [one, other], cutting(), X)
    with pytest.raises(BadInput, match="the optimizer does not hold"):
        run.train_with(other)
    with pytest.raises(BadInput, match=r"optimizer=\[\]: give the optimizer"):
        nk.Pruning(model, [], cutting(), X)
    with pytest.raises(BadInput, match=r"expected an optimizer .*found int"):
        nk.Pruning(model, [one, 3], cutting(), X)  # type: ignore[list-item]


# -- a cut that is refused ----------------------------------------------------------------------------------------


def test_a_cut_that_is_refused_is_tried_again() -> None:
    """Nothing of the run is lost, here or in a state that is saved between."""

    def begun() -> nk.Pruning:
        model = net()
        ending = Method("ending", sequence(Wait(2), Choose(nk.scores.L1(), nk.Ratio(0.5)), Cut()))
        return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), ending, X, ema=averaged(model))

    run, again = begun(), begun()
    train(run)
    hook = run.model[0].weight.register_hook(lambda grad: None)
    with pytest.raises(CannotFollow, match=r"'0\.weight' has a hook on it"):
        train(run)
    assert (run.finished, run.model[0].out_features) == (False, 6)
    hook.remove()
    again.load_state_dict(run.state_dict())
    for each in (run, again):
        train(each)
        assert (each.finished, each.model[0].out_features) == (True, 3)


@pytest.mark.parametrize("place", ["hook", "optimizer"])
def test_what_no_cut_can_follow_is_told_at_the_start(place: str) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if place == "hook":
        model[0].weight.register_post_accumulate_grad_hook(lambda p: None)
    else:
        optimizer.slots = [model[0].weight]  # type: ignore[attr-defined]
    told = {"hook": r"cutting cuts '0\.weight', which has a hook", "optimizer": "SGD keeps .* of its own in 'slots'"}
    with pytest.raises(CannotFollow, match=told[place]):
        nk.Pruning(model, optimizer, cutting(), X)
    mask = Method("mask", sequence(Wait(2), Choose(nk.scores.L1(), nk.Ratio(0.5)), Mask()))
    nk.Pruning(model, optimizer, mask, X)


# -- averaged copies ----------------------------------------------------------------------------------------------


def averaged(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))


def test_an_average_is_cut_with_the_model() -> None:
    model, twin = net(), net()
    ema = averaged(model)
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), cutting(), X, ema=ema)
    train(run)
    ema.update_parameters(model)
    kept = {name: t.clone() for name, t in ema.module.state_dict().items()}
    train(run)
    twin.load_state_dict(kept)
    assert run.receipt is not None
    small = nk.cut(twin, run.receipt.plan)
    assert [tuple(p.shape) for p in small.parameters()] == [tuple(p.shape) for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), ema.module.parameters(), strict=True))
    ema.update_parameters(model)
    expected = [(a + b) / 2 for a, b in zip(small.parameters(), model.parameters(), strict=True)]
    assert all(torch.allclose(a, b) for a, b in zip(expected, ema.parameters(), strict=True))


def test_an_average_is_cut_again_from_a_checkpoint() -> None:
    def begun() -> tuple[nk.Pruning, AveragedModel]:
        model = net()
        ema = averaged(model)
        return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), cutting(), X, ema=ema), ema

    run, ema = begun()
    train(run, steps=3)
    ema.update_parameters(run.model)
    other, again = begun()
    other.load_state_dict(run.state_dict())
    again.load_state_dict(ema.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ema.parameters(), strict=True))


@pytest.mark.parametrize("of", ["units", "weights"])
def test_an_average_is_masked_with_the_model(of: Any) -> None:
    model = net()
    ema = averaged(model)
    mask = Method("mask", sequence(Wait(2), Choose(nk.scores.L1(), nk.Ratio(0.5), of=of), Mask(), Wait(1)))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), mask, X, ema=ema)
    for _ in range(5):
        train(run)
        ema.update_parameters(model)
    assert int((model[0].weight == 0).sum()) == 12
    assert torch.equal(ema.module[0].weight == 0, model[0].weight == 0)


def test_an_average_starts_again_after_a_rewind() -> None:
    model = net()
    ema = averaged(model)
    method = nk.methods.imp(0.5, rounds=2, steps=2, dense=2, rewind=1)
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, X, ema=ema)
    counts = []
    while not run.finished:
        train(run)
        counts.append(int(ema.n_averaged))
        if counts[-1] == 0 and run.steps > 1:
            assert all(torch.equal(a, b) for a, b in zip(ema.parameters(), model.parameters(), strict=True))
        ema.update_parameters(model)
    assert counts.count(0) == 3  # at the start, and after two rewinds
    assert max(counts) > 0


def test_a_copy_whose_only_child_is_called_module_is_an_average() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = net()

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.module(x)
            return found

    for wrap in (copy.deepcopy, averaged):
        model: nn.Module = Outer()
        ema = wrap(model)
        train(nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), cutting(), X, ema=ema), steps=2)
        assert [p.shape for p in ema.parameters()] == [p.shape for p in model.parameters()]


def test_a_trainer_s_checkpoint_holds_the_average() -> None:
    def begun() -> nk.Pruning:
        model = net()
        return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), cutting(), X, ema=averaged(model))

    run, again = begun(), begun()
    train(run, steps=3)
    run._average._ema.update_parameters(run.model)  # type: ignore[union-attr, operator]
    again.load_state_dict(run.whole_state())
    one, other = run._average.state_dict(), again._average.state_dict()
    assert int(one["n_averaged"]) == 1
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_is_no_copy_of_the_model_is_no_average() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(BadInput, match=r"Linear has other tensors than Sequential"):
        nk.Pruning(model, optimizer, cutting(), X, ema=nn.Linear(2, 2))
    with pytest.raises(BadInput, match=r"ema must be a module.*not str"):
        nk.Pruning(model, optimizer, cutting(), X, ema="ema")  # type: ignore[arg-type]


# -- mixed precision and compilation ------------------------------------------------------------------------------


def test_a_scaler_goes_on_after_the_cut_and_gradients_may_be_unscaled_before() -> None:
    ends = []
    for clips in (False, True):
        model = net()
        optimizer, scaler = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True), torch.amp.GradScaler("cpu")
        run = nk.Pruning(model, optimizer, nk.methods.greg1(nk.Ratio(0.5), grow=0.5, every=1, hold=1), X)
        for _ in range(6):
            optimizer.zero_grad()
            scaler.scale(loss_of(model)).backward()
            if clips:
                scaler.unscale_(optimizer)
            before = weights(model)
            run.step(scaler)
            scaler.update()
        assert run.finished
        assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
        ends.append(weights(model))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_step_that_overflows_does_not_spoil_what_was_summed_up() -> None:
    model = net()
    method = nk.methods.movement(0.5, steps=3, every=1, dense=1, after=1)
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, X)
    scaler = torch.amp.GradScaler("cpu", 2.0**127, backoff_factor=2.0**-100)
    before = weights(model)
    run.optimizer.zero_grad()
    scaler.scale(loss_of(model) * 100).backward()
    assert not model[0].weight.grad.isfinite().all()
    run.step(scaler)
    scaler.update()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(moved.isfinite().all() for moved in run.state_dict()["moved"].values())


def test_what_is_summed_up_leaves_out_the_steps_that_a_scaler_leaves_out() -> None:
    """Also where only the gradient of another weight overflowed."""
    model, scaler = net(), torch.amp.GradScaler("cpu", 2.0**10)
    method = nk.methods.movement(nk.Ratio(0.5, only="0.*"), steps=3, every=1, dense=5)
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, X)
    scaler.scale(loss_of(model)).backward()
    model[2].weight.grad[0, 0] = torch.inf
    before = weights(model)
    run.step(scaler)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert [float(moved.abs().sum()) for moved in run.state_dict()["moved"].values()] == [0.0]


def test_a_compiled_step_trains_what_is_left() -> None:
    model = net()
    run = nk.Pruning(model, torch.optim.AdamW(model.parameters(), lr=0.1), cutting(), X)
    loss = torch.compile(loss_of, backend="aot_eager")
    train(run, loss, steps=3)
    assert model[0].out_features == 3
    before = weights(model)
    train(run, loss)
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


# -- what optimizers keep -----------------------------------------------------------------------------------------


class Keeper(torch.optim.SGD):
    """Keeps what it is told to, for every parameter."""

    def __init__(self, params: Iterable[Any], keep: Callable[[Tensor], Any]) -> None:
        super().__init__(params, lr=0.1)
        self.keep = keep

    def step(self, closure: Any = None) -> None:
        super().step()
        for p in self.param_groups[0]["params"]:
            self.state[p]["kept"] = self.keep(p)


def kept(keep: Callable[[Tensor], Any]) -> tuple[nn.Sequential, Keeper]:
    model = net()
    optimizer = Keeper(model.parameters(), keep)
    loss_of(model).backward()
    optimizer.step()
    return model, optimizer


UNKNOWN = {
    "per_row": (lambda p: torch.zeros(p.shape[0], 1), r"'kept' of shape \(6, 1\) for '0\.weight' of shape \(6, 4\)"),
    "in_a_list": (lambda p: [torch.zeros_like(p)], r"tensors in 'kept' for '0\.weight'"),
    "in_a_dict": (lambda p: {"a": torch.zeros_like(p)}, r"tensors in 'kept' for '0\.weight'"),
    # A matrix per row, square by chance for one of the weights: of its shape, and nothing of its kind.
    "by_chance": (lambda p: torch.eye(p.shape[0])[:, : 4 if p.shape == (6, 4) else None], r"'kept' of shape \(6, 4\)"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_state_of_unknown_shape_is_refused(kind: str) -> None:
    keep, message = UNKNOWN[kind]
    model, optimizer = kept(keep)
    plan = nk.plan(nk.trace(model, X))
    with pytest.raises(CannotFollow, match=rf"Keeper keeps {message}.*Say it with nk.optimizer_rule, or cut between"):
        nk.cut_(model, plan, optimizer)
    assert model[0].out_features == 6


def test_a_rule_says_what_state_runs_along() -> None:
    model, optimizer = kept(lambda p: p.detach().sum(1, keepdim=True) if p.dim() > 1 else p.detach().clone())

    @nk.optimizer_rule(Keeper, keys=("kept",))
    def keeper(state: Any, shrink: Any) -> Any:
        return {"kept": shrink.along(state["kept"], 0, *[None] * (len(shrink.shape) - 1))}

    try:
        plan = nk.plan(nk.trace(model, X))
        old = {name: optimizer.state[p]["kept"] for name, p in model.named_parameters()}
        receipt = nk.cut_(model, plan, optimizer)
        gone = set(plan.choices["0"].removed)
        stay = [i for i in range(6) if i not in gone]
        assert torch.equal(optimizer.state[model[0].weight]["kept"], old["0.weight"][stay])
        assert torch.equal(optimizer.state[model[2].weight]["kept"], old["2.weight"])
        assert receipt.states == 3
    finally:
        del RULES[Keeper]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({}, r"the rule for Keeper returned \[\], and the state has \['kept'\]"),
        ({"kept": 0, "more": 0}, r"returned \['kept', 'more'\]"),
    ],
)
def test_a_rule_must_answer_for_its_keys(made: Any, message: str) -> None:
    model, optimizer = kept(lambda p: torch.zeros(7))
    nk.optimizer_rule(Keeper, keys=("kept",))(lambda state, shrink: made)
    try:
        with pytest.raises(CannotFollow, match=message):
            nk.cut_(model, nk.plan(nk.trace(model, X)), optimizer)
        assert model[0].out_features == 6
    finally:
        del RULES[Keeper]


def test_bad_rules_are_told() -> None:
    with pytest.raises(BadInput, match=r"a rule is for optimizer classes or full names.*not 'Adam'"):
        nk.optimizer_rule("Adam", keys=("exp_avg",))
    with pytest.raises(BadInput, match="not nothing"):
        nk.optimizer_rule(keys=("exp_avg",))
    with pytest.raises(BadInput, match=r"keys are a tuple of names, such as \('exp_avg',\)"):
        nk.optimizer_rule("a.Adam", keys="exp_avg")
    from niwaki.surgery.states import Shrink

    with pytest.raises(BadInput, match=r"shape \(3, 1\) does not run along the dimensions \(0, None\).*\(4, 2\)"):
        Shrink((4, 2), {0: (1,)}).along(torch.zeros(3, 1), 0, None)


class LookAhead(torch.optim.Optimizer):
    """Around another optimizer, with slow weights of its own."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__([{"params": list(g["params"])} for g in inner.param_groups], {})
        self.inner = inner

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.inner.step()
        for group in self.param_groups:
            for p in group["params"]:
                slow = self.state[p].setdefault("slow", p.clone())
                p.copy_(slow.lerp_(p, 0.5))


def test_an_optimizer_around_another_follows_in_both() -> None:
    model = net()
    optimizer = LookAhead(torch.optim.Adam(model.parameters(), lr=0.1))
    run = nk.Pruning(model, optimizer, cutting(), X)
    train(run, steps=3)
    before = weights(model)
    train(run)
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    for each in (optimizer, optimizer.inner):
        assert {id(p) for p in each.state} == {id(p) for p in model.parameters()}


def test_a_rewind_reaches_an_optimizer_inside_another() -> None:
    model = net()
    optimizer = LookAhead(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    run = nk.Pruning(model, optimizer, nk.methods.imp(0.5, rounds=1, steps=3, dense=2, rewind=1), X)
    train(run)
    assert len(optimizer.inner.state) == 4
    train(run)  # after which it goes back to the first step
    assert (len(optimizer.state), len(optimizer.inner.state)) == (0, 0)


@pytest.mark.parametrize("place", ["attribute", "group"])
def test_parameters_where_nobody_looks_are_refused(place: str) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if place == "attribute":
        optimizer.slots = {"a": [model[0].weight]}  # type: ignore[attr-defined]
    else:
        optimizer.param_groups[0]["frozen"] = (model[0].weight,)
    named = "'slots'" if place == "attribute" else r"'param_groups\[0\]'"
    with pytest.raises(CannotFollow, match=f"SGD keeps parameters of its own in {named}"):
        nk.cut_(model, nk.plan(nk.trace(model, X)), optimizer)
    assert model[0].out_features == 6
