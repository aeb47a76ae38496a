"""Iterative, gradual and movement pruning in training: when weights go, that they stay gone, and rewinding."""

from __future__ import annotations

import copy
import gc
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import Choose, Cut, Mask, Method, Regularize, Remember, Rewind, Wait, sequence, together
from niwaki.schedules import per_round

LR = 0.1


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def pruning(model: nn.Module, method: Method, optimizer: torch.optim.Optimizer | None = None, **more: Any):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    return nk.Pruning(model, optimizer, method, torch.ones(1, 6), **more)


def backward(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(16, n, generator=generator) for n in (6, 4))
    model.zero_grad()
    (model(x) - y).square().mean().backward()


def train(run: nk.Pruning, start: int, stop: int) -> None:
    for seed in range(start, stop):
        backward(run.model, seed)
        run.step()


def zeros(model: nn.Module) -> list[int]:
    return [int((p == 0).sum()) for p in model.parameters() if p.dim() > 1]


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_round_chooses_right_after_the_last_step_before_it() -> None:
    """48 and 32 weights; half, then three quarters. Choices come after steps 2 and 4, of the weights of then."""
    model = net()
    run = pruning(model, nk.methods.imp(0.75, rounds=2, steps=2))
    seen = []
    for seed in range(6):
        backward(model, seed)
        run.step()
        seen.append(zeros(model))
    assert seen == [[0, 0], [24, 16], [24, 16], [36, 24], [36, 24], [36, 24]]
    assert run.finished


def test_the_least_of_that_moment_go() -> None:
    model, twin = net(), net()
    train(pruning(twin, nk.methods.imp(0.5, rounds=1, steps=9, dense=9)), 0, 3)
    train(pruning(model, nk.methods.imp(0.5, rounds=1, steps=9, dense=3)), 0, 3)
    for small, dense in zip(model.parameters(), twin.parameters(), strict=True):
        if dense.dim() > 1:
            least = dense.abs().flatten().argsort()[: dense.numel() // 2]
            dense.data.view(-1)[least] = 0
        assert torch.equal(small, dense)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "momentum": lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "no epsilon": lambda p: torch.optim.Adam(p, lr=0.01, eps=0.0),  # 0 / 0 where there is no gradient
}
SINGLE = {
    "imp": nk.methods.imp(0.75, rounds=2, steps=3),
    "global": nk.methods.imp(nk.Ratio(0.75, scope="global"), rounds=2, steps=3),
    "rewound": nk.methods.imp(0.75, rounds=2, steps=3, rewind=1),
    "spur": nk.methods.spur(0.75, rounds=2, steps=3, alpha=0.01),
    "proximal": nk.methods.spur(0.75, rounds=2, steps=3, alpha=0.01, proximal=True),
    "gradual": nk.methods.gradual(0.75, steps=5, every=2, first=0.3, dense=2, after=2),
    "movement": nk.methods.movement(0.75, steps=5, dense=2, after=2),
    "nm": nk.methods.nm("1:2"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SINGLE)
def test_what_is_gone_stays_gone_under_every_optimizer(name: str, optimizer: str) -> None:
    model = net()
    run = pruning(model, SINGLE[name], OPTIMIZERS[optimizer](model.parameters()))
    gone = [torch.zeros_like(p, dtype=torch.bool) for p in model.parameters()]
    for seed in range(14):
        train(run, seed, seed + 1)
        now = [p == 0 for p in model.parameters()]
        assert all((before <= after).all() for before, after in zip(gone, now, strict=True))
        gone = now
    assert run.finished
    expected = 80 // 2 if name == "nm" else 80 * 3 // 4
    assert sum(zeros(model)) == expected


def test_spur_with_no_penalty_is_imp_bit_for_bit() -> None:
    """And with one it is not."""
    ends = []
    for method in (
        nk.methods.imp(0.75, rounds=2, steps=3),
        nk.methods.spur(0.75, rounds=2, steps=3, alpha=0.0),
        nk.methods.spur(0.75, rounds=2, steps=3, alpha=0.0, proximal=True),
        nk.methods.spur(0.75, rounds=2, steps=3, alpha=1e-3),
    ):
        model = net()
        train(pruning(model, method), 0, 12)
        ends.append(weights(model))
    assert equal(ends[0], ends[1])
    assert equal(ends[0], ends[2])
    assert not equal(ends[0], ends[3])


def test_the_penalty_is_added_to_the_gradient_as_it_is() -> None:
    """By hand: one weight matrix [[3, 4]], no loss: the gradient is alpha (3/5 + 1, 4/5 + 1)."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    method = nk.methods.spur(0.5, rounds=1, steps=2, alpha=0.5)
    run = nk.Pruning(layer, torch.optim.SGD(layer.parameters(), lr=1.0), method, torch.ones(1, 2))
    layer.weight.grad = torch.zeros(1, 2)
    run.step()
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[3 - 0.8, 4 - 0.9]]))


def test_the_proximal_step_comes_after_the_optimizers_by_its_rate() -> None:
    """Rows first: norm 5 less 0.5 × 0.2 = 4.9, times 0.98; then each column, one weight, less 0.1."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    method = nk.methods.spur(0.5, rounds=1, steps=2, alpha=0.5, proximal=True)
    run = nk.Pruning(layer, torch.optim.SGD(layer.parameters(), lr=0.2), method, torch.ones(1, 2))
    layer.weight.grad = torch.zeros(1, 2)
    run.step()
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[3 * 0.98 - 0.1, 4 * 0.98 - 0.1]]))


def test_a_proximal_penalty_empties_whole_rows() -> None:
    model = net()
    method = nk.methods.spur(0.5, rounds=1, steps=30, alpha=0.3, proximal=True)
    train(pruning(model, method), 0, 29)
    empty = [(p == 0).all(1).sum() + (p == 0).all(0).sum() for p in model.parameters() if p.dim() > 1]
    assert sum(empty) > 0
    assert sum(zeros(model)) > 0  # and nothing was chosen yet


@pytest.mark.parametrize("proximal", [False, True])
def test_a_penalty_must_reach_what_it_presses(proximal: bool, caplog: pytest.LogCaptureFixture) -> None:
    def begin(frozen: tuple[int, ...], outside: tuple[int, ...] = (), alpha: float = 1.0) -> str:
        model = net()
        for k in frozen:
            model[k].weight.requires_grad_(False)
        held = [p for n, p in model.named_parameters() if n not in [f"{k}.weight" for k in (*frozen, *outside)]]
        caplog.clear()
        method = nk.methods.spur(0.5, rounds=1, steps=2, alpha=alpha, proximal=proximal)
        pruning(model, method, torch.optim.SGD(held, lr=LR))
        return caplog.text

    with pytest.raises(
        BadInput, match=r"none of the 2 tensors does \(frozen: '0.weight', '2.weight'\).*take nk.methods.imp"
    ):
        begin(frozen=(0, 2))
    assert "1 of 2 tensors are frozen ('2.weight')" in begin(frozen=(2,))
    told = begin(frozen=(), outside=(0,))
    assert "1 of 2 tensors that the optimizer does not hold ('0.weight')" in told
    assert ("no proximal step" in told) == proximal
    assert not begin(frozen=())
    assert not begin(frozen=(0, 2), alpha=0.0)  # that is imp


def test_a_step_that_the_scaler_leaves_out_has_no_proximal_step() -> None:
    """Half precision overflowed; the next step is one again."""
    layer = nn.Linear(2, 1)
    method = nk.methods.spur(0.5, rounds=1, steps=2, alpha=0.5, proximal=True)
    run = nk.Pruning(layer, torch.optim.SGD(layer.parameters(), lr=0.2), method, torch.ones(1, 2))
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    scaler.scale(torch.zeros(()))
    before = layer.weight.detach().clone()
    for bias, moves in ((float("inf"), False), (0.0, True)):  # the overflow was elsewhere in the model
        layer.weight.grad, layer.bias.grad = torch.zeros(1, 2), torch.tensor([bias])
        run.step(scaler)
        scaler.update()
        assert torch.equal(layer.weight, before) is not moves


@pytest.mark.parametrize("target", [0.0, nk.Ratio({"2.*": 0.0})], ids=["all", "by pattern"])
@pytest.mark.parametrize("proximal", [False, True])
def test_a_share_of_nothing_is_pressed_all_the_same(target: Any, proximal: bool) -> None:
    """The first point of a sweep: dense, with the penalty."""
    model, twin = net(), net()
    method = nk.methods.spur(target, rounds=1, steps=5, alpha=0.01, proximal=proximal)
    train(pruning(model, method), 0, 1)
    train(pruning(twin, nk.methods.imp(target, rounds=1, steps=5)), 0, 1)
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)]
    assert changed == [target == 0.0, False, True, False]
    assert zeros(model) == [0, 0]


@pytest.mark.parametrize("target", [nk.Ratio(0.5, only="2.weight"), nk.Ratio({"0.weight": 0.0, "*": 0.5})], ids=str)
def test_only_what_the_target_names_is_pressed(target: nk.Ratio) -> None:
    """A share of 0 for a part leaves that part out."""
    model, twin = net(), net()
    train(pruning(model, nk.methods.spur(target, rounds=1, steps=5, alpha=1.0), sgd(model)), 0, 1)
    train(pruning(twin, nk.methods.imp(target, rounds=1, steps=5), sgd(twin)), 0, 1)
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)]
    assert changed == [False, False, True, False]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LR)


def test_rewinding_brings_back_the_weights_of_its_step_where_they_live() -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    run = pruning(model, nk.methods.imp(0.5, rounds=2, steps=3, dense=3, rewind=1), optimizer)
    train(run, 0, 1)
    early = weights(model)
    train(run, 1, 3)
    for now, then in zip(model.parameters(), early, strict=True):
        assert torch.equal(now, torch.where(now == 0, now, then))
    assert not optimizer.state
    assert zeros(model) == [15, 10]  # 1 - 0.5 ** 0.5 = 0.293 of 48 and 32, rounded up
    train(run, 3, 6)
    for now, then in zip(model.parameters(), early, strict=True):
        assert torch.equal(now, torch.where(now == 0, now, then))
    assert zeros(model) == [24, 16]


class Eager(torch.optim.SGD):
    """Makes its state when it is built, and counts its steps in the group."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        for group in self.param_groups:
            group["k"] = 0
            for p in group["params"]:
                self.state[p].update(step=torch.tensor(0.0), sum=torch.full_like(p, 0.5))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["k"] += 1
            for p in group["params"]:
                state = self.state[p]
                state["step"] += 1
                state["sum"] += p.grad.square()
                p.sub_(group["lr"] / group["k"] * p.grad / state["sum"].sqrt())


@pytest.mark.parametrize("resumed", [False, True])
def test_an_optimizer_has_seen_nothing_after_rewinding(resumed: bool) -> None:
    """Also one that made its state before its first step, and one that counts outside of it."""

    def fresh() -> nk.Pruning:
        model = net()
        return pruning(model, nk.methods.imp(0.5, rounds=1, steps=5, dense=6, rewind=2), Eager(model.parameters(), LR))

    run = fresh()
    train(run, 0, 4)
    if resumed:
        states = torch.load(io.BytesIO(to_bytes(run)), weights_only=True)
        model = net()
        optimizer = Eager(model.parameters(), LR)
        model.load_state_dict(states["model"])
        optimizer.load_state_dict(states["optimizer"])  # before there is a run, as trainers do
        run = pruning(model, run.method, optimizer)
        run.load_state_dict(states["run"])
    train(run, 4, 6)
    (group,) = run.optimizer.param_groups
    assert (group["k"], group["lr"]) == (0, LR)
    for p in group["params"]:
        assert run.optimizer.state[p]["step"] == 0
        assert bool((run.optimizer.state[p]["sum"] == torch.where(p == 0, 0.0, 0.5)).all())
    train(run, 6, 7)
    assert group["k"] == 1


def test_rewinding_to_the_start_takes_buffers_along() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    run = pruning(model, nk.methods.imp(0.5, rounds=1, steps=3, dense=3, rewind=0))
    backward(model, 0)
    before = copy.deepcopy(model.state_dict())  # the model as it is when the first step is made
    run.step()
    train(run, 1, 3)
    gone = run.chosen
    for name, now in model.state_dict().items():
        expected = before[name].masked_fill(gone[name], 0) if name in gone else before[name]
        assert torch.equal(now, expected), name
    assert sum(int(each.sum()) for each in gone.values()) == 40


def test_masked_weights_have_no_gradient_to_clip() -> None:
    model = net()
    run = pruning(model, nk.methods.imp(0.5, rounds=1, steps=3, dense=1))
    train(run, 0, 1)
    backward(model, 1)
    for p in model.parameters():
        if p.dim() > 1:
            assert (p.grad[p == 0] == 0).all()
            assert (p.grad != 0).any()


def test_a_model_outlives_its_run_without_hooks() -> None:
    model = net()
    run = pruning(model, nk.methods.nm("1:2"))
    train(run, 0, 1)
    assert any(p._backward_hooks for p in model.parameters())
    del run
    gc.collect()
    assert not any(p._backward_hooks for p in model.parameters())


def test_movement_by_hand() -> None:
    """Two weights, 1 and 2; gradients 3 and -1, then 1 and 2: sums -(3 × 1 + 1 × 0.7) and -(-1 × 2 + 2 × 2.1), of which
    the first goes: -3.7, and the other is -2.2."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    method = nk.methods.movement(0.5, steps=1, dense=1)
    run = nk.Pruning(layer, torch.optim.SGD(layer.parameters(), lr=0.1), method, torch.ones(1, 2))
    for gradient in ([3.0, -1.0], [1.0, 2.0]):
        layer.weight.grad = torch.tensor([gradient])
        run.step()
    torch.testing.assert_close(run.state_dict()["moved"]["weight"], torch.tensor([[-3.7, -2.2]]))
    assert (layer.weight == 0).tolist() == [[True, False]]
    assert run.finished


def movement_of(model: nn.Module, target: Any = 0.5, **settings: Any) -> nk.Pruning:
    return pruning(model, nk.methods.movement(target, **{"steps": 3, **settings}))


def test_frozen_weights_are_no_choice_of_movement() -> None:
    """They have no gradient, and would go from the first row on."""
    model = net()
    model[0].weight.requires_grad_(False)
    with pytest.raises(BadInput, match=r"some that it may take are frozen.*: '0\.weight'\. .*skip='0\.weight'"):
        movement_of(model)
    run = movement_of(model, nk.Ratio(0.5, skip="0.weight"))
    train(run, 0, 3)
    assert zeros(model) == [0, 16]


class Half(nn.Module):
    """Training runs ``second`` only where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.late = nn.Linear(6, 4), nn.Linear(6, 4), False

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x) if self.late else self.first(x)


@pytest.mark.parametrize("scope", ["group", "global"])
def test_weights_that_no_gradient_reaches_are_left_alone(scope: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = Half()
    run = movement_of(model, nk.Ratio(0.5, scope=scope))
    train(run, 0, 3)
    assert run.finished
    assert zeros(model) == [12, 0]
    (told,) = caplog.messages
    assert "no gradient to 1 of 2 weights that may go by what gradients say (second.weight)" in told
    assert "skip='second.weight'" in told


def test_a_gradient_that_comes_late_is_early_enough() -> None:
    """An expert that gets its first sample later on has no choice to regret, and its share in the end."""
    model = Half()
    run = movement_of(model, steps=4)
    train(run, 0, 2)
    assert zeros(model)[1] == 0
    model.late = True
    train(run, 2, 4)
    assert zeros(model) == [12, 12]


def test_steps_that_the_scaler_leaves_out_tell_nothing_of_weights() -> None:
    """Half precision often overflows in the first steps: nothing goes until a gradient counts."""
    model = net()
    run = movement_of(model, first=0.25)
    backward(model, 0)
    model[0].weight.grad.fill_(torch.inf)
    run.before_step()
    run.after_step()
    assert zeros(model) == [0, 0]
    train(run, 1, 3)
    assert zeros(model) == [24, 16]


TOO_EARLY = {
    "magnitude": nk.methods.magnitude(nk.Ratio(0.5), score=nk.scores.Movement(), of="weights"),
    "nm": nk.methods.nm("2:4", score=nk.scores.Movement()),
    "imp": nk.methods.imp(0.5, steps=2, dense=0, score=nk.scores.Movement()),
}


@pytest.mark.parametrize("name", TOO_EARLY)
def test_what_watches_training_has_nothing_to_say_before_it(name: str) -> None:
    method = TOO_EARLY[name]
    told = f"{name} chooses by Movement, .* no step of training comes before that choice: .*dense="
    with pytest.raises(BadInput, match=told):
        pruning(net(), method)
    if not method.takes_time:
        with pytest.raises(BadInput, match=told):
            nk.prune(net(), torch.ones(1, 6), method)


def test_what_watches_training_may_choose_after_some() -> None:
    model = net()
    train(pruning(model, nk.methods.imp(0.5, rounds=1, steps=2, dense=1, score=nk.scores.Movement())), 0, 3)
    assert zeros(model) == [24, 16]


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (
            Method("mine", sequence(Wait(1), Choose(of="weights"), Mask(), Rewind(), Remember(), Wait(1))),
            r"mine has a Rewind\(\) and has no Remember\(\) before it",
        ),
        (
            Method("mine", sequence(Remember(), Wait(1), Choose(), Cut(), Rewind(), Wait(1))),
            r"mine has a Rewind\(\) to a copy from before a cut, of other shapes: put Remember\(\) where",
        ),
        (Method("mine", together(sequence(Wait(1), Rewind()), Wait(2))), "has no Remember"),
    ],
)
def test_a_copy_must_be_there_to_go_back_to(method: Method, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        pruning(net(), method)


def test_a_copy_from_after_the_cut_can_be_gone_back_to() -> None:
    run = pruning(net(), Method("mine", sequence(Wait(1), Choose(), Cut(), Remember(), Wait(1), Rewind(), Wait(1))))
    train(run, 0, 3)
    assert run.finished
    assert run.model[0].out_features == 4


def test_penalties_are_no_movement() -> None:
    """What is summed up is the loss's gradient alone."""
    choose = Choose(nk.scores.Movement(), nk.Ratio(0.5), "weights")
    method = Method("pressed", together(sequence(Wait(1), choose, Mask(), Wait(1)), Regularize(factor=5.0)))
    model = net()
    run = pruning(model, method)
    backward(model, 0)
    expected = -(model[0].weight.grad * model[0].weight).detach()
    run.step()
    torch.testing.assert_close(run.state_dict()["moved"]["0.weight"], expected)


@pytest.mark.parametrize("name", SINGLE)
def test_each_resumes_bit_for_bit_after_any_step(name: str) -> None:
    def fresh(seed: int) -> nk.Pruning:
        model = net(seed)
        return pruning(model, SINGLE[name], torch.optim.AdamW(model.parameters(), lr=0.01))

    whole, saved = fresh(0), []
    for seed in range(10):
        saved.append(to_bytes(whole))
        train(whole, seed, seed + 1)
    for stop in range(10):
        run = fresh(7)
        state = torch.load(io.BytesIO(saved[stop]), weights_only=True)
        run.load_state_dict(state["run"])
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
        train(run, stop, 10)
        assert equal(weights(run.model), weights(whole.model)), stop


@pytest.mark.parametrize("name", SINGLE)
def test_a_run_that_has_gone_further_goes_back_bit_for_bit(name: str) -> None:
    """What it has masked since is not gone any more."""
    model = net()
    run = pruning(model, SINGLE[name], torch.optim.AdamW(model.parameters(), lr=0.01))
    train(run, 0, 2)
    early = torch.load(io.BytesIO(to_bytes(run)), weights_only=True)
    train(run, 2, 3)
    third = zeros(model)
    train(run, 3, 10)
    late = weights(model)
    run.load_state_dict(early["run"])
    model.load_state_dict(early["model"])
    run.optimizer.load_state_dict(early["optimizer"])
    train(run, 2, 3)
    assert zeros(model) == third
    train(run, 3, 10)
    assert equal(weights(model), late)


def test_a_model_that_is_moved_to_another_type_keeps_its_zeros() -> None:
    model = net()
    run = pruning(model, SINGLE["imp"], torch.optim.SGD(model.parameters(), lr=LR))
    train(run, 0, 4)
    before = zeros(model)
    assert sum(before)
    model.bfloat16()
    model.zero_grad()
    model(torch.ones(16, 6, dtype=torch.bfloat16)).square().mean().backward()
    assert all(torch.equal(p == 0, (p == 0) & (p.grad == 0)) for p in model.parameters() if p.dim() > 1)
    run.step()
    assert zeros(model) == before


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_record_tells_of_zeros_that_nobody_chose(alpha: float) -> None:
    """Rows and columns that the proximal form empties, also after the last choice."""
    model, rows = net(), []
    method = nk.methods.spur(0.25, rounds=1, steps=12, dense=12, alpha=alpha, proximal=True)
    run = pruning(model, method, torch.optim.SGD(model.parameters(), lr=0.05), record=rows.append)
    train(run, 0, 24)
    assert run.finished
    told = [row for row in rows if row["event"] == "pattern"]
    now = [p == 0 for p in model.parameters() if p.dim() > 1]
    assert told[-1]["sparsity"] == sum(map(int, (z.sum() for z in now))) / 80
    assert [each["empty_rows"] for each in told[-1]["matrices"].values()] == [int(z.all(1).sum()) for z in now]
    assert len(told) == (2 if alpha else 1)
    assert (told[-1]["sparsity"] > 0.3) == bool(alpha)


def to_bytes(run: nk.Pruning) -> bytes:
    file = io.BytesIO()
    states = {"run": run.state_dict(), "model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    torch.save(states, file)
    return file.getvalue()


def test_the_two_halves_of_a_step_are_the_step() -> None:
    one, other = net(), net()
    whole = pruning(one, SINGLE["spur"])
    halves = pruning(other, SINGLE["spur"])
    for seed in range(9):
        train(whole, seed, seed + 1)
        backward(other, seed)
        halves.before_step()
        halves.optimizer.step()
        halves.after_step()
    assert equal(weights(one), weights(other))


def test_halves_out_of_order_are_refused() -> None:
    run = pruning(net(), SINGLE["imp"])
    backward(run.model, 0)
    with pytest.raises(BadInput, match="before_step was not called"):
        run.after_step()
    run.before_step()
    with pytest.raises(BadInput, match="before_step was called twice"):
        run.before_step()


def test_a_schedule_of_rounds_fits_a_method() -> None:
    """The rate is highest in the first step after each choice."""
    model = net()
    method = nk.methods.imp(0.75, rounds=2, steps=4, dense=2)
    run = pruning(model, method)
    scheduler = torch.optim.lr_scheduler.LambdaLR(run.optimizer, per_round(method.rounds))
    rates = []
    for seed in range(sum(method.rounds)):
        rates.append(run.optimizer.param_groups[0]["lr"] / LR)
        train(run, seed, seed + 1)
        scheduler.step()
    assert rates == pytest.approx([1, 0.5, *[1, 0.75, 0.5, 0.25] * 2])
    assert run.finished
