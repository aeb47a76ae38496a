"""Block by block: masked is cut, tuning between blocks, resuming, compensation and statistics in a whole run."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import Cut, Mask, Method, Wait, sequence, together
from niwaki.methods.recover import Recover
from niwaki.methods.selectors import Heaviest
from niwaki.surgery.cut import plan_of
from niwaki.testing import laws
from niwaki.testing.laws.exercise import exercise
from tests.calibration.nets import alive, deep, images, perceptron, rows

HALF = nk.Ratio(0.5)
LOOKING: dict[str, Method] = {
    "ispasp": nk.methods.ispasp(HALF),
    "paper": nk.methods.ispasp(nk.Ratio(0.6), mass="signed", fresh=True, samples=16),
    "code": nk.methods.ispasp(nk.Ratio(0.6), statistics="batch"),
    "compensated": nk.methods.ispasp(HALF, compensate=True, reestimate=True),
    "topk": nk.methods.topk(HALF),
    "gfs": nk.methods.gfs(HALF),
    "stochastic gfs": nk.methods.gfs(HALF, candidates=3, reuse=False),
}


def halves(x: Tensor) -> list[Tensor]:
    return list(x.split(8))


def outputs_differ(model: nn.Module, small: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((model(x) - small(x)).square().mean())


@pytest.mark.parametrize("name", [*LOOKING, "michel"])
@pytest.mark.parametrize("shares", [{"blocks.*.conv1": 0.5, "blok*": 0.5}, {"blok*": 0.5}])
def test_a_pattern_that_matches_nothing_is_told(name: str, shares: dict[str, float]) -> None:
    """And not left unpruned, silently."""
    makers = {
        "stochastic gfs": lambda target: nk.methods.gfs(target, candidates=3, reuse=False),
        "paper": lambda target: nk.methods.ispasp(target, fresh=True),
        "code": lambda target: nk.methods.ispasp(target, statistics="batch"),
        "compensated": lambda target: nk.methods.ispasp(target, compensate=True),
        "michel": nk.methods.michel,
    }
    method = makers.get(name, getattr(nk.methods, name, None))(nk.Ratio(shares))  # type: ignore[misc]
    with pytest.raises(BadInput, match=r"the pattern 'blok\*' matches no group"):
        nk.prune(deep(), images()[:1], method, data=halves(images()), loss=lambda m, x: m(x).square().mean())


class Grouped(nn.Module):
    """A grouped and a transposed convolution that take what others make."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(6, 4, 3, groups=2, bias=False)
        self.last = nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.up(torch.relu(self.grouped(torch.relu(self.first(x)))))))


def test_kept_units_count_more_in_grouped_and_transposed_convolutions_too() -> None:
    """What takes the units that stay counts as much more as there were more of them, and elsewhere what it did."""
    model, x = alive(Grouped()), images()
    small = nk.prune(model, x[:1], nk.methods.gfs(HALF, reuse=False), data=halves(x))
    plan = plan_of(small)
    assert plan is not None
    plain = nk.cut(model, plan)
    assert set(plan.choices) >= {"first", "grouped", "up"}
    for (name, mine), (_, other) in zip(small.named_parameters(), plain.named_parameters(), strict=True):
        taken = {"grouped.weight": "first", "up.weight": "grouped", "last.weight": "up"}.get(name)
        factor = 1.0 if taken is None else plan.choices[taken].size / plan.choices[taken].kept
        torch.testing.assert_close(mine, factor * other, msg=name)


@pytest.mark.parametrize("settings", [{"compensate": True}, {"rescale": True}])
def test_weights_that_cannot_be_written_are_told_before_any_step(settings: dict[str, Any]) -> None:
    model, x = perceptron(), rows()
    nn.utils.parametrizations.weight_norm(model[2])
    make = nk.methods.ispasp if "compensate" in settings else nk.methods.gfs
    with pytest.raises(BadInput, match=r"needs to write the weight of '2', which is computed from other tensors"):
        rehearse_with_data(model, x, make(HALF, **settings))


def rehearse_with_data(model: nn.Module, x: Tensor, method: Method) -> nk.Pruning:
    """The start of a run, in which nothing is changed yet."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return nk.Pruning(model, optimizer, method, x[:1], data=halves(x))


@pytest.mark.parametrize("name", LOOKING)
def test_what_every_method_gives_is_certified_and_the_same_again(name: str) -> None:
    model, x = deep(), images()
    before = copy.deepcopy(model.state_dict())
    small, again = (nk.prune(model, x[:1], LOOKING[name], data=halves(x)) for _ in range(2))
    plan = plan_of(small)
    assert plan is not None
    widths = {part.conv1.out_channels for part in small.blocks}
    assert widths == {4} if "paper" not in name and "code" not in name else widths <= {3, 4}
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert nk.certify(model, plan, small, x[:2]).holds


def test_masked_and_cut_at_the_end_is_cut_block_by_block() -> None:
    """Top-K written out: look at one group of the network as it is cut so far, cut it, go on."""
    model, x = deep(), images()
    small = nk.prune(model, x[:1], nk.methods.topk(HALF), data=halves(x))
    front = copy.deepcopy(model)
    for k in range(3):
        found: list[Tensor] = []
        hook = front.blocks[k].conv2.register_forward_pre_hook(lambda m, args, found=found: found.append(args[0]))
        with torch.no_grad():
            front(x)
        hook.remove()
        gone = tuple(torch.argsort(found[0].sum((0, 2, 3)), stable=True)[:4].sort().values.tolist())
        assert gone == plan_of(small).choices[f"blocks.{k}.conv1"].removed
        nk.cut_(front, nk.make_plan(nk.trace(front, x[:1]), {f"blocks.{k}.conv1": gone}))
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), front.parameters(), strict=True))


def test_later_blocks_see_what_is_left_of_the_front() -> None:
    """The heavier unit of the second layer reads the lighter one of the first. When that is gone, the other stays."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        for k, weight in ((0, [[1.0], [2.0]]), (2, [[10.0, 0.0], [0.0, 1.0]]), (4, [[1.0, 1.0]])):
            model[k].weight.copy_(torch.tensor(weight))
            model[k].bias.zero_()
    x = torch.rand(8, 1) + 1
    alone = nk.prune(model, x, nk.methods.topk(nk.Ratio(0.5, only="2")), data=[x])
    small = nk.prune(model, x, nk.methods.topk(HALF), data=[x])
    assert plan_of(alone).choices["2"].removed == (1,)
    assert [plan_of(small).choices[name].removed for name in ("0", "2")] == [(0,), (0,)]


@pytest.mark.parametrize("make", [nk.methods.ispasp, nk.methods.topk, nk.methods.gfs])
def test_compensation_brings_the_outputs_nearer(make: Any) -> None:
    model, x = perceptron(), rows()
    plain, made_up = (nk.prune(model, x[:1], make(HALF, compensate=c), data=halves(x)) for c in (False, True))
    assert outputs_differ(model, made_up, x) < 0.7 * outputs_differ(model, plain, x)


def test_statistics_are_those_of_the_small_network() -> None:
    model, x = deep(), images()
    small = nk.prune(model, x[:1], nk.methods.ispasp(HALF, reestimate=True), data=[x])
    again = copy.deepcopy(small)
    for norm in (m for m in again.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    again.train()(x)
    for name, value in again.named_buffers():
        if "running" in name:
            assert torch.allclose(dict(small.named_buffers())[name], value, rtol=1e-4, atol=1e-5), name
    kept = nk.prune(model, x[:1], nk.methods.ispasp(HALF), data=[x])
    assert torch.equal(kept.blocks[0].bn2.running_mean, model.blocks[0].bn2.running_mean)


@pytest.mark.parametrize(("target", "count"), [(nk.Macs(0.7), "macs"), (nk.Params(0.7), "params")])
def test_targets_of_cost_are_met_with_even_shares(target: Any, count: str) -> None:
    model, x = deep(), images()
    small = nk.prune(model, x[:1], nk.methods.ispasp(target), data=halves(x))
    dense, left = (getattr(nk.trace(m, x[:1]), count)() for m in (model, small))
    widths = [part.conv1.out_channels for part in small.blocks]
    assert left <= 0.7 * dense
    assert max(widths) - min(widths) <= 1
    assert small.stem.out_channels == 5


def test_rounding_and_balance_hold() -> None:
    model, x = deep(), images()
    small = nk.prune(model, x[:1], nk.methods.ispasp(nk.Ratio(0.6, round_to=4)), data=halves(x))
    assert [part.conv1.out_channels for part in small.blocks] == [4, 4, 4]


def test_what_is_left_alone_is_told() -> None:
    model, x = deep(), images()
    rows: list[dict[str, Any]] = []
    nk.prune(model, x[:1], nk.methods.ispasp(HALF), data=halves(x), record=rows.append)
    assert [(row["event"], row.get("group")) for row in rows][:2] == [("left", "stem"), ("choose", None)]
    assert "name it in `only`" in rows[0]["reason"]


def test_a_stream_is_pruned_when_it_is_named() -> None:
    model, x = deep(), images()
    small = nk.prune(model, x[:1], nk.methods.ispasp(nk.Ratio(0.4, only=("stem", "blocks.1.conv1"))), data=halves(x))
    assert small.stem.out_channels == 3
    assert small.blocks[0].conv1.out_channels == 8
    assert nk.certify(model, plan_of(small), small, x[:2]).holds


# -- in training ----------------------------------------------------------------------------------------------------


def train(run: nk.Pruning, x: Tensor) -> None:
    run.optimizer.zero_grad()
    run.model(x).square().mean().backward()
    run.step()


def test_tuning_comes_between_the_blocks_and_masks_hold() -> None:
    model, x = perceptron(), rows()
    run = nk.Pruning(
        model,
        torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        nk.methods.topk(HALF, tune=3),
        x[:1],
        data=halves(x),
    )
    seen = []
    for _ in range(6):
        assert not run.finished
        train(run, x)
        gone = run.chosen
        seen.append(sorted(gone))
        if not run.finished:
            assert not model[0].weight[list(gone["0"])].any()
            assert not model[2].weight[:, list(gone["0"])].any()
    assert seen[:3] == [["0"]] * 3
    assert seen[3:5] == [["0", "2"]] * 2
    assert run.finished
    assert [model[0].out_features, model[2].out_features] == [6, 5]


@pytest.mark.parametrize("widths", [(16, 8), (8, 16), (8, 16, 8)])
def test_nothing_is_tuned_for_a_group_that_stays_whole(widths: tuple[int, ...]) -> None:
    """Of 8 units, half rounded to 8 are all."""
    torch.manual_seed(0)
    ends = [(6, *widths), (*widths, 3)]
    layers = [layer for ins, outs in zip(*ends, strict=True) for layer in (nn.Linear(ins, outs), nn.ReLU())]
    model, x = nn.Sequential(*layers), torch.randn(12, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    run = nk.Pruning(model, optimizer, nk.methods.topk(nk.Ratio(0.5, round_to=8), tune=3), x[:1], data=[x])
    while not run.finished:
        train(run, x)
    assert run.steps == 3
    assert [layer.out_features for layer in model[::2]] == [*[8] * len(widths), 3]


@pytest.mark.parametrize("method", ["ispasp", "topk", "gfs", "michel"])
def test_it_is_told_when_nothing_goes(method: str, caplog: pytest.LogCaptureFixture) -> None:
    model, x = perceptron(), rows()

    def told(round_to: int) -> str:
        caplog.clear()
        target = nk.Ratio(0.5, round_to=round_to)
        labelled = [(x, torch.zeros(len(x)))]
        loss = {"loss": lambda model, batch: model(batch[0]).square().mean()} if method == "michel" else {}
        nk.prune(model, x[:1], getattr(nk.methods, method)(target), data=labelled, **loss)
        return caplog.text

    assert "takes no unit: no group can lose any down to a multiple of 16" in told(16)
    assert "takes no unit" not in told(1)


def test_the_second_block_is_chosen_on_the_tuned_front() -> None:
    """What was kept of the front before tuning is stale: the choice is that of a network that was tuned, afresh."""
    model, x = deep(), images()
    run = nk.Pruning(
        model, torch.optim.SGD(model.parameters(), lr=0.3), nk.methods.topk(HALF, tune=2), x[:1], data=halves(x)
    )
    model.train()
    for _ in range(2):
        train(run, x)
    tuned = copy.deepcopy(model).eval()
    hidden = torch.relu(tuned.blocks[1].bn1(tuned.blocks[1].conv1(tuned.blocks[0](torch.relu(tuned.stem(x))))))
    train(run, x)
    gone = tuple(torch.argsort(hidden.sum((0, 2, 3)), stable=True)[:4].sort().values.tolist())
    assert run.chosen["blocks.1.conv1"] == gone


@pytest.mark.parametrize(
    "method",
    [
        nk.methods.ispasp(HALF, tune=2, compensate=True, reestimate=True),
        nk.methods.ispasp(HALF, tune=1, fresh=True, samples=4, iters=3),
        nk.methods.gfs(HALF, tune=2, candidates=2),
        Method("then", sequence(Wait(2), Recover(Heaviest(), HALF, tune=1), Mask(), Wait(1), Cut())),
    ],
    ids=["compensated", "fresh", "gfs", "after waiting"],
)
def test_resumes_bit_for_bit_and_repeats_itself(method: Method) -> None:
    make = exercise(deep, lambda: images(8))
    laws.resumes_bit_for_bit(make, method, 8)
    laws.deterministic(make, method, 8)


def test_blocks_are_chosen_in_one_step_beside_other_parts() -> None:
    """A part that asks again in the same step neither moves the others on nor waits for the optimizer."""
    model, x = perceptron(), rows()
    method = Method("beside", sequence(together(Wait(2), Recover(Heaviest(), HALF)), Cut()))
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.0), method, x[:1], data=halves(x))
    train(run, x)
    assert {n: len(units) for n, units in run.chosen.items()} == {"0": 6, "2": 5}
    assert not run.finished
    train(run, x)
    assert run.finished
    assert model[0].out_features == 6


def test_a_generator_serves_once_and_is_refused_for_fresh_samples() -> None:
    model, x = perceptron(), rows()
    once = nk.prune(model, x[:1], nk.methods.ispasp(HALF), data=iter(halves(x)))
    again = nk.prune(model, x[:1], nk.methods.ispasp(HALF), data=halves(x))
    assert plan_of(once) == plan_of(again)
    with pytest.raises(nk.errors.BadInput, match="A generator is empty after its first use"):
        nk.prune(model, x[:1], nk.methods.ispasp(HALF, fresh=True), data=iter(halves(x)))


def test_fresh_samples_come_with_every_iteration() -> None:
    """One batch to look at the model, then one for each of three iterations in each of two groups."""
    model, x = perceptron(), rows()
    method = nk.methods.ispasp(HALF, iters=3, fresh=True, samples=8)
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, x[:1], data=halves(x))
    run.run_at_once()
    assert run.state_dict()["drawn"]["drawn"] == 7


def test_samples_are_as_many_as_asked() -> None:
    model, x = perceptron(), rows()
    few = nk.prune(model, x[:1], nk.methods.topk(HALF, samples=11), data=halves(x))
    exact = nk.prune(model, x[:1], nk.methods.topk(HALF), data=[x[:11]])
    assert plan_of(few).removed == plan_of(exact).removed


def test_labels_are_not_looked_at() -> None:
    model, x = perceptron(), rows()
    plain, pairs = (
        nk.prune(model, x[:1], nk.methods.ispasp(HALF), data=data)
        for data in (halves(x), [(part, torch.zeros(len(part), dtype=torch.int64)) for part in halves(x)])
    )
    assert plan_of(plain) == plan_of(pairs)
