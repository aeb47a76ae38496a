"""What a forward pass runs in training alone: it follows a cut, or the log says that it cannot."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from tests.graph.nets import Net, group_with, status


def inputs() -> Tensor:
    return torch.ones(2, 3, 6, 6)


def supervised(n: Any, x: Tensor) -> Any:
    """A second head, which flattens its maps, on a layer inside."""
    f = n.a(x).relu()
    y = n.b(f).mean((2, 3))
    return (y, n.aux(nn.functional.avg_pool2d(f, 3).flatten(1))) if n.training else y


def net(forward: Any, **more: nn.Module) -> Net:
    return Net(forward, a=nn.Conv2d(3, 8, 3, padding=1), b=nn.Conv2d(8, 4, 1), aux=nn.Linear(32, 5), **more)


def test_a_head_that_only_training_runs_follows_the_cut(caplog: pytest.LogCaptureFixture) -> None:
    model = net(supervised).train()
    graph = nk.trace(model, inputs())
    group = group_with(graph, "a.weight:0", "b.weight:1", "aux.weight:1")
    assert status(graph, "aux.weight:0") == "blocked"  # what training returns keeps its shape
    small = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=[group])).train()
    assert [y.shape for y in small(inputs())] == [(2, 4), (2, 5)]
    assert small.aux.in_features == 16
    assert model.training
    assert caplog.records == []


def test_the_pass_in_train_mode_is_no_part_of_what_is_counted() -> None:
    model = net(supervised)
    plain = net(lambda n, x: n.b(n.a(x).relu()).mean((2, 3)))
    graph, other = (nk.trace(m, inputs()) for m in (model, plain))
    assert graph.macs() == other.macs()
    assert [site.op for site, _ in graph.ledger.calls] == [site.op for site, _ in other.ledger.calls]


def test_chance_is_left_as_it_was() -> None:
    def drops(n: Any, x: Tensor) -> Any:
        return supervised(n, x) if not n.training or random.random() >= 0 else None

    before = random.getstate(), torch.get_rng_state()
    model = net(drops)
    state = torch.get_rng_state()
    nk.trace(model, inputs())
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("layer", ["dropped if below", "kept if below"])
def test_a_layer_that_training_drops_by_chance_does_not_end_the_watch(
    shape: tuple[int, ...], layer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether to drop is asked of a random number, whose value fake tensors do not have."""

    def forward(n: Any, x: Tensor) -> Any:
        if n.training and (torch.rand(shape) < 0.3) == (layer == "kept if below"):
            x = x + 1
        return supervised(n, x)

    model = net(forward)
    state = torch.get_rng_state()
    graph = nk.trace(model, inputs())
    group_with(graph, "a.weight:0", "b.weight:1", "aux.weight:1")
    assert not graph.observation.real
    assert caplog.records == []
    assert torch.equal(torch.get_rng_state(), state)


def test_more_random_numbers_than_one_have_no_values(caplog: pytest.LogCaptureFixture) -> None:
    def forward(n: Any, x: Tensor) -> Any:
        if n.training and torch.rand(2)[0] < 0.3:
            x = x + 1
        return supervised(n, x)

    nk.trace(net(forward), inputs())
    assert "The forward pass in train mode could not be watched" in caplog.text


def test_what_cannot_be_watched_in_training_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fails(n: Any, x: Tensor) -> Tensor:
        if n.training:
            raise ValueError("targets must be given")
        return n.b(n.a(x).relu()).mean((2, 3))

    graph = nk.trace(net(fails), inputs())
    assert [g.name for g in graph.groups] == ["a"]
    [told] = caplog.messages
    assert told.startswith("not used in eval mode: 'aux.bias', 'aux.weight'. The forward pass in train mode could not")
    assert "(ValueError: targets must be given)" in told


def test_what_is_not_used_at_all_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    model = net(lambda n, x: n.b(n.a(x).relu()).mean((2, 3)), drop=nn.Dropout())
    assert not nk.trace(model, inputs()).observation.late
    assert caplog.records == []


def test_a_layer_inside_a_head_of_training_is_not_offered() -> None:
    """It takes no part in what is counted, and its share would go for nothing; its columns follow."""

    def forward(n: Any, x: Tensor) -> Any:
        f = n.a(x).relu()
        y = n.b(f).mean((2, 3))
        return (y, n.head(n.norm(n.aux(f)).mean((2, 3)))) if n.training else y

    layers = {"aux": nn.Conv2d(8, 12, 3), "norm": nn.BatchNorm2d(12), "head": nn.Linear(12, 5)}
    model = Net(forward, a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(8, 4, 1), **layers)
    graph = nk.trace(model, inputs())
    assert [g.name for g in graph.groups] == ["a"]
    assert group_with(graph, "a.weight:0", "aux.weight:1")
    assert "only training runs it" in str(graph.explain("aux.weight", 0))
    assert graph.denied == {}


def test_chance_does_not_decide_what_the_pass_in_train_mode_reaches() -> None:
    def sometimes(n: Any, x: Tensor) -> Any:
        f = n.a(x)
        tossed = random.random() + float(np.random.rand()) < 1
        return (n.b(f), n.aux(f)) if n.training and tossed else n.b(f)

    model = Net(sometimes, a=nn.Linear(4, 8), b=nn.Linear(8, 2), aux=nn.Linear(8, 3))
    found = set()
    for seed in range(6):
        random.seed(seed)
        np.random.seed(seed)
        found.add(nk.trace(model, torch.ones(2, 4)).observation.late)
    assert len(found) == 1


def test_a_norm_in_a_head_takes_a_single_sample(caplog: pytest.LogCaptureFixture) -> None:
    def pooled(n: Any, x: Tensor) -> Any:
        f = n.a(x).relu()
        y = n.b(f).mean((2, 3))
        return (y, n.aux(n.norm(f.mean((2, 3))))) if n.training else y

    model = Net(pooled, a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(8, 4, 1), norm=nn.BatchNorm1d(8), aux=nn.Linear(8, 5))
    graph = nk.trace(model, inputs()[:1])
    assert group_with(graph, "a.weight:0", "norm.weight:0", "aux.weight:1")
    assert caplog.records == []


def test_training_takes_no_units_away(caplog: pytest.LogCaptureFixture) -> None:
    def masks(n: Any, x: Tensor) -> Tensor:
        f = n.a(x)
        if n.training:
            f[:, :2] = n.token
        return n.b(f.relu())

    class Masking(Net):
        """Told once in a process."""

    layers = {"a": nn.Linear(4, 8), "b": nn.Linear(8, 2)}
    for _ in range(2):
        graph = nk.trace(Masking(masks, token=nn.Parameter(torch.ones(8)), **layers), torch.ones(3, 5, 4))
        assert [(g.name, len(g)) for g in graph.groups] == [("a", 8)]
        assert not graph.observation.late
    [told] = caplog.messages
    assert "not used in eval mode: 'token'. The forward pass in train mode could not be followed (" in told
    assert "test_training_only.py:" in told
    assert told.endswith("where training uses it, it cannot follow: do not prune the width that it is added to")
