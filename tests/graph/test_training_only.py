"""What a forward pass runs in training alone: it follows a cut, or the log says that it cannot."""

from __future__ import annotations

import random
from typing import Any

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
    assert not nk.trace(model, inputs()).observation.trained
    assert caplog.records == []
