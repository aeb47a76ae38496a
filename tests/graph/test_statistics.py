"""Norms and softmaxes written by hand over a pruned axis: said in the group, certified without the removed units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.graph import Graph
from niwaki.graph.turnstile import COUNTED, Turnstile
from niwaki.surgery import reduced
from niwaki.surgery.certify import certify
from niwaki.testing import laws
from niwaki.units import Plan
from tests.graph.nets import Net, graph_of, group_with

Forward = Callable[[Any, Tensor], Tensor]


def inputs() -> Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def net(between: Callable[[Tensor], Tensor]) -> Net:
    torch.manual_seed(0)
    return Net(lambda n, x: n.b(between(n.a(x)) * n.scale), a=nn.Linear(4, 8), b=nn.Linear(8, 3), scale=torch.ones(8))


def by_numbers(h: Tensor) -> Tensor:
    """An RMS norm that divides by a count taken from the shape."""
    return h * (h.square().sum(-1, keepdim=True) / h.shape[-1] + 1e-6).rsqrt()


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "rms": lambda h: h * (h.square().mean(-1, keepdim=True) + 1e-6).rsqrt(),
    "rms by a power": lambda h: h / (h.pow(2).mean(dim=-1, keepdim=True) + 1e-6) ** 0.5,
    "layer": lambda h: (h - h.mean(-1, keepdim=True)) * (h.var(-1, keepdim=True, correction=0) + 1e-5).rsqrt(),
    "layer by deviations": lambda h: (
        (d := h - h.mean(-1, keepdim=True)) / (d.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    ),
    "layer by torch.var_mean": lambda h: (
        (vm := torch.var_mean(h, -1, correction=0, keepdim=True)) and (h - vm[1]) * (vm[0] + 1e-5).rsqrt()
    ),
    "mean by torch.std_mean": lambda h: h - torch.std_mean(h, -1, keepdim=True)[1],
    "standard deviation": lambda h: (h - h.mean(-1, keepdim=True)) / (h.std(-1, keepdim=True) + 1e-5),
    "softmax": lambda h: h.softmax(-1),
    "softmax of a function": lambda h: F.softmax(h, -1),
    "log softmax": lambda h: F.log_softmax(h, -1),
    "mean": lambda h: h - h.mean(-1, keepdim=True),
    "mean over tokens and units": lambda h: h - h.mean((1, 2), keepdim=True),
}


def certified(model: nn.Module, graph: Graph, plan: Plan) -> Any:
    return certify(model, plan, nk.cut(model, plan), inputs(), graph=graph)


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_written_by_hand_says_so_and_is_certified(name: str) -> None:
    model = net(NORMS[name])
    graph = nk.trace(model, inputs())
    group = group_with(graph, "a.weight:0", "b.weight:1", "scale:0")
    assert group.changes_statistics
    assert "removing some changes the statistics of the others" in str(graph.explain("a.weight", 0))
    laws.cut_equals_masked(model, inputs(), ratios=(0.3, 0.6), seeds=(0,), graph=graph)
    plan = nk.plan(graph)
    assert {c.detail for c in certified(model, graph, plan).checks} == {
        "norms and means over removed units leave them out"
    }
    # The plainly masked model is another one: here the twin really had to leave units out.
    with torch.no_grad():
        assert not torch.allclose(nk.mask(model, plan)(inputs()), nk.cut(model, plan)(inputs()), rtol=1e-3)


OTHER_AXES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax over tokens": lambda h: h.softmax(1),
    "mean over tokens": lambda h: h - h.mean(1, keepdim=True),
    "deviation over tokens": lambda h: h / (h.std(1, keepdim=True) + 1),
    "a sum of squares": lambda h: h * h.square().sum(-1, keepdim=True),
}


@pytest.mark.parametrize("name", OTHER_AXES)
def test_a_norm_over_another_axis_changes_nothing(name: str) -> None:
    model = net(OTHER_AXES[name])
    graph = nk.trace(model, inputs())
    assert not graph.groups[0].changes_statistics
    plan = nk.plan(graph)
    assert {c.detail for c in certified(model, graph, plan).checks} == {""}


def test_a_mean_that_nobody_reads_changes_nothing() -> None:
    def looks(h: Tensor) -> Tensor:
        h.mean(-1)
        return h

    assert not nk.trace(net(looks), inputs()).groups[0].changes_statistics


def test_a_count_taken_from_the_shape_is_refused() -> None:
    """``sum / shape[-1]``: the sum stays and the count does not, so that the cut computes with another number."""
    with pytest.raises(
        nk.errors.NothingToPrune, match=r"computes with another number \(6\) \(div at test_statistics.py"
    ):
        nk.trace(net(by_numbers), inputs())


def attention(n: Any, x: Tensor) -> Tensor:
    """Keys are a table of six: the softmax runs over its rows."""
    return (n.q(x) @ n.keys.mT).softmax(-1) @ n.values


def test_a_softmax_over_rows_of_a_table() -> None:
    torch.manual_seed(0)
    tables = {name: nn.Parameter(torch.randn(6, 4)) for name in ("keys", "values")}
    model = Net(attention, q=nn.Linear(4, 4), **tables)
    graph = nk.trace(model, inputs())
    group = group_with(graph, "keys:0", "values:0")
    assert group.changes_statistics
    laws.cut_equals_masked(model, inputs(), graph=graph)


# -- planted faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rms", "layer", "softmax", "mean"])
def test_a_twin_that_divides_by_the_full_count_is_not_certified(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The removed units are zero, and counted."""
    model = net(NORMS[name])
    graph = nk.trace(model, inputs())
    plan = nk.plan(graph)
    assert certified(model, graph, plan).holds
    monkeypatch.setattr(reduced, "_narrowed", lambda name, func, args, kwargs, todo: func(*args, **kwargs))
    certificate = certified(model, graph, plan)
    assert not certificate.holds
    assert certificate.checks[0].worst > 1e-2


def test_a_graph_that_forgets_statistics_is_caught_by_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net(NORMS["rms"])
    graph = nk.trace(model, inputs())
    monkeypatch.setattr(graph.ledger, "statistics", [])
    with pytest.raises(laws.LawBroken, match="DIFFERS FROM"):
        laws.cut_equals_masked(model, inputs(), graph=graph)


def test_a_call_that_is_not_where_it_was_is_said_and_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order of the calls in the twin: not comparable, which is not the same as equal."""
    model = net(NORMS["layer"])
    graph = nk.trace(model, inputs())
    plan = nk.plan(graph)
    over = reduced.reductions(graph, plan)
    assert [[(r.function, r.dim, r.size) for r in found] for found in over.values()] == [
        [("mean", 2, 8)],
        [("var", 2, 8)],
    ]
    swapped = dict(zip(over, reversed(over.values()), strict=True))
    monkeypatch.setattr("niwaki.surgery.certify.reductions", lambda graph, plan: swapped)
    certificate = certified(model, graph, plan)
    assert not certificate.holds
    assert "not comparable: call 1 is var over (2, 5, 8) now, it was mean before" in str(certificate)


def test_statistics_inside_a_function_of_torch_are_found() -> None:
    """``F.instance_norm`` and the like are counted as one call, and what they call is not counted again."""
    turns = Turnstile()
    with turns:
        F.layer_norm(torch.ones(2, 4), (4,))
        torch.ones(2).mean()
        F.relu(torch.ones(2))
    assert turns.passed == 2
    assert turns.current is None
    assert "relu" not in COUNTED


def test_the_trace_alone_knows_it_too() -> None:
    assert graph_of(net(NORMS["rms"]), inputs()).groups[0].changes_statistics
