"""The engine: masks that hold, one-call pruning, and what it refuses before any step is spent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, NothingToPrune, UnreachableTarget
from niwaki.methods import Choose, Cut, Mask, Method, Wait, sequence
from niwaki.surgery.cut import plan_of


def net(between: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), between(), nn.Linear(6, 3))


def masking(steps: int) -> Method:
    return Method("masking", sequence(Choose(nk.scores.Random(1), nk.Ratio(0.5)), Mask(), Wait(steps), Cut()))


def train(run: nk.Pruning) -> None:
    run.optimizer.zero_grad()
    run.model(torch.ones(2, 4)).square().sum().backward()
    run.step()


@pytest.mark.parametrize(
    "make",
    [lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), lambda p: torch.optim.AdamW(p, lr=0.01)],
    ids=["momentum", "AdamW"],
)
def test_a_mask_holds_against_momentum_and_the_cut_follows(make: Any) -> None:
    model = net()
    optimizer = make(model.parameters())
    warm = nk.Pruning(model, optimizer, Method("wait", Wait(2)), torch.ones(2, 4))
    for _ in range(2):
        train(warm)
    run = nk.Pruning(model, optimizer, masking(4), torch.ones(2, 4))
    before = model[0].weight.detach().clone()
    for k in range(3):
        train(run)
        gone, kept = list(run.chosen["0"]), [i for i in range(6) if i not in run.chosen["0"]]
        assert len(gone) == 3
        assert not model[0].weight[gone].any(), k
        assert not model[0].bias[gone].any(), k
        assert not model[2].weight[:, gone].any(), k
        assert model[0].weight[kept].any(1).all(), k
    assert not torch.equal(model[0].weight[kept], before[kept])
    assert not run.finished
    train(run)
    assert run.finished
    assert model[0].out_features == 3


def test_a_mask_without_a_cut_goes_on_holding() -> None:
    model = net()
    method = Method("mask", sequence(Choose(nk.scores.L1(), nk.Ratio(0.5)), Mask(), Wait(1)))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), method, torch.ones(2, 4))
    for _ in range(4):
        train(run)
    assert run.finished
    assert run.receipt is None
    assert int((model[0].weight == 0).all(1).sum()) == 3


def test_two_cuts_in_one_method_are_one_plan_on_the_dense_model() -> None:
    model = net()
    choose = Choose(nk.scores.L1(), nk.Ratio(0.5))
    method = Method("twice", sequence(choose, Cut(), Wait(1), choose, Cut()))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.0), method, torch.ones(2, 4))
    train(run)
    assert model[0].out_features == 3
    train(run)
    assert run.finished
    assert model[0].out_features == 1
    plan = plan_of(model)
    assert plan is not None
    dense = nk.cut(net(), plan)
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), model.parameters(), strict=True))


# -- in one call ------------------------------------------------------------------------------------------------


def test_one_call_gives_a_copy_and_leaves_the_model() -> None:
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    small = nk.prune(model, torch.ones(2, 4), nk.methods.magnitude(nk.Ratio(0.5)))
    expected = nk.cut(model, nk.plan(nk.trace(model, torch.ones(2, 4))))
    assert small[0].out_features == 3
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), expected.parameters(), strict=True))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert small is not model


def test_one_call_masks_when_that_is_the_method() -> None:
    method = Method("mask", sequence(Choose(nk.scores.L1(), nk.Ratio(0.5)), Mask()))
    masked = nk.prune(net(), torch.ones(2, 4), method)
    assert masked[0].out_features == 6
    assert int((masked[0].weight == 0).all(1).sum()) == 3


def test_a_method_that_needs_training_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        BadInput, match=r"greg1 prunes while the model trains.*Use nk\.Pruning\(model, optimizer, method"
    ):
        nk.prune(net(), torch.ones(2, 4), nk.methods.greg1(nk.Ratio(0.5)))


# -- refused before any step ------------------------------------------------------------------------------------


def pruning(model: nn.Module, method: Any, inputs: Any = None, of: nn.Module | None = None) -> nk.Pruning:
    optimizer = torch.optim.SGD((of or model).parameters(), lr=0.1)
    return nk.Pruning(model, optimizer, method, torch.ones(2, 4) if inputs is None else inputs)


@pytest.mark.parametrize("method", ["greg1", None, nk.Ratio(0.5), Choose()], ids=lambda m: type(m).__name__)
def test_what_is_no_method_is_refused(method: Any) -> None:
    with pytest.raises(BadInput, match=f"method must come from nk.methods, not {type(method).__name__}"):
        pruning(net(), method)


def test_an_optimizer_of_another_copy_is_refused() -> None:
    with pytest.raises(BadInput, match="the optimizer holds none of the model's parameters"):
        pruning(net(), nk.methods.magnitude(nk.Ratio(0.5)), of=net())


def test_a_run_goes_on_with_several_optimizers() -> None:
    model = net()
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), masking(2), torch.ones(2, 4))
    run.train_with([torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (model[0], model[2])])
    for _ in range(2):
        train(run)
    assert run.finished
    assert sum(len(group["params"]) for group in run.optimizer.param_groups) == 4
    assert model[0].out_features == 3
    with pytest.raises(BadInput, match=r"optimizer=\[\]: give the optimizer that trains the model"):
        run.train_with([])


def test_targets_are_tried_before_any_step() -> None:
    with pytest.raises(UnreachableTarget, match="the least that a legal plan leaves"):
        pruning(net(), nk.methods.greg1(nk.Macs(0.01)))
    with pytest.raises(BadInput, match=r"the pattern 'conv\*' matches no group"):
        pruning(net(), nk.methods.greg1(nk.Ratio(0.5, only="conv*")))
    with pytest.raises(NothingToPrune):
        pruning(nn.Linear(4, 2), nk.methods.magnitude(nk.Ratio(0.5)))
    with pytest.raises(BadInput, match="inputs must be a tensor"):
        pruning(net(), nk.methods.magnitude(nk.Ratio(0.5)), inputs="ones")


def test_flattened_parameters_are_refused_with_the_way_out() -> None:
    class FullyShardedDataParallel(nn.Sequential):
        """By its name, as that of torch is found: it cannot be made without other processes."""

    with pytest.raises(BadInput, match=r"FullyShardedDataParallel \(FSDP1\), which flattens .*fsdp_version=2"):
        pruning(FullyShardedDataParallel(*net()), nk.methods.magnitude(nk.Ratio(0.5)))


def test_a_bare_number_is_no_target() -> None:
    with pytest.raises(BadInput, match="target"):
        pruning(net(), nk.methods.greg1(0.5))  # type: ignore[arg-type]


def test_trying_leaves_the_choice_open() -> None:
    run = pruning(net(), nk.methods.greg1(nk.Ratio(0.5)))
    assert run.chosen == {}
    assert (run.steps, run.finished, run.pressure) == (0, False, {})


# -- wrappers, and after the end ----------------------------------------------------------------------------------


def greg1() -> Method:
    return nk.methods.greg1(nk.Ratio(0.5), grow=1.0, every=1, ceiling=1.5, hold=1)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_wrapped_model_is_pressed_and_cut(wrap: Any) -> None:
    """Groups go by the names inside the wrapper, and so must the weights that are pressed."""
    model = net()
    wrapped = wrap(model)
    run = nk.Pruning(wrapped, torch.optim.SGD(model.parameters(), lr=0.01), greg1(), torch.ones(2, 4))
    while not run.finished:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        run.step()
    assert model[0].out_features == 3


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_figures_are_recorded_every_whole_number_of_updates(every: Any) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(BadInput, match="record_every must be a whole number of at least 1"):
        nk.Pruning(model, optimizer, greg1(), torch.ones(2, 4), record_every=every)


def test_masks_of_units_add_up() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    first, second = (Choose(nk.scores.L1(), nk.Ratio(0.5, only=name)) for name in ("0", "2"))
    masked = nk.prune(model, torch.ones(2, 4), Method("both", sequence(first, Mask(), second, Mask())))
    assert [int((masked[k].bias == 0).sum()) for k in (0, 2)] == [3, 2]


def test_a_finished_run_is_read_again_though_nothing_is_left_to_prune() -> None:
    """The run itself does not trace what its last cut left, and no more does the one that is read."""

    def started() -> nk.Pruning:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
        return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), masking(1), torch.ones(2, 4))

    run = started()
    while not run.finished:
        train(run)
    again = started()
    again.load_state_dict(run.state_dict())
    assert again.finished
    assert again.model[0].out_features == 1


def test_a_state_from_before_the_cut_is_not_for_a_run_that_has_been_cut() -> None:
    model = net()
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), masking(2), torch.ones(2, 4))
    train(run)
    state = run.state_dict()
    while not run.finished:
        train(run)
    with pytest.raises(BadInput, match=r"has made 1 cut, and the run state knows of 0, .* a fresh, dense model"):
        run.load_state_dict(state)
    assert run.finished
    run.load_state_dict(run.state_dict())


def test_the_graph_is_of_the_model_after_the_last_cut() -> None:
    model = net()
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), masking(1), torch.ones(2, 4))
    while not run.finished:
        train(run)
    assert [len(group) for group in run.graph.groups] == [3]


class Lookalike:
    """Steps by the gradients, and is no ``torch.optim.Optimizer``."""

    def __init__(self, model: nn.Module) -> None:
        self.param_groups, self.state = [{"params": list(model.parameters()), "lr": 0.1}], dict[Any, Any]()

    def step(self) -> None:
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.sub_(0.1 * p.grad)

    def zero_grad(self) -> None:
        for p in self.param_groups[0]["params"]:
            p.grad = None


def test_what_only_looks_like_an_optimizer_masks_single_weights() -> None:
    model = net()
    method = Method("mask", sequence(Choose(nk.scores.L1(), nk.Ratio(0.5), "weights"), Mask(), Wait(2)))
    run = nk.Pruning(model, Lookalike(model), method, torch.ones(2, 4))  # type: ignore[arg-type]
    while not run.finished:
        train(run)
    assert int((model[0].weight == 0).sum()) == 12


def closure_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(torch.ones(2, 4)).square().sum()
        loss.backward()
        return loss

    return closure


def test_an_optimizer_with_a_closure_steps_between_the_halves() -> None:
    model = net(nn.Sigmoid)  # what is masked gives 0.5, so that the closure moves what reads it
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1)
    method = Method("mask", sequence(Choose(nk.scores.L1(), nk.Ratio(0.5)), Mask(), Wait(2)))
    run = nk.Pruning(model, optimizer, method, torch.ones(2, 4))
    with pytest.raises(BadInput, match=r"LBFGS steps with a closure: in place of run.step\(\), call run.before_step"):
        run.step()
    before = model[0].weight.detach().clone()
    while not run.finished:  # what is masked after the first step is zero after the second, too
        run.before_step()
        optimizer.step(closure_of(model, optimizer))
        run.after_step()
    assert not torch.equal(model[0].weight, before)
    assert int((model[0].weight == 0).all(1).sum()) == int((model[2].weight == 0).all(0).sum()) == 3


@pytest.mark.parametrize(
    ("method", "part"),
    [
        (nk.methods.greg1(nk.Ratio(0.5)), "Press"),
        (nk.methods.greg2(nk.Ratio(0.5)), "Spread"),
        (nk.methods.spur(0.5, rounds=1, steps=1, alpha=1e-3), "Regularize"),
    ],
    ids=["greg1", "greg2", "spur"],
)
def test_penalties_that_a_closure_would_wipe_out_are_refused(method: Method, part: str) -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters())
    with pytest.raises(BadInput, match=rf"adds a penalty to the gradients \({part}\), and LBFGS computes them anew"):
        nk.Pruning(model, optimizer, method, torch.ones(2, 4))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, torch.ones(2, 4))
    with pytest.raises(BadInput, match="so that it would be lost"):
        run.train_with([optimizer])
    for settings in ({"alpha": 0.0}, {"proximal": True}):  # nothing is added to gradients
        nk.Pruning(model, optimizer, nk.methods.spur(0.5, rounds=1, steps=1, **settings), torch.ones(2, 4))
