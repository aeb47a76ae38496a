"""Sizes written in the code: found by cutting before anything is offered, and told with the line; others stay."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.surgery import dryrun
from niwaki.testing import laws
from niwaki.testing.zoo import specimen
from tests.graph.nets import Net, graph_of

Between = Callable[[Any, Tensor], Tensor]


def inputs() -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


def net(between: Between, width: int = 6) -> Net:
    """Layer a's six units meet what is tried; layer c's five meet nothing."""
    torch.manual_seed(0)
    return Net(
        lambda n, x: n.b(between(n, n.a(x))) + n.d(n.c(x)),
        a=nn.Linear(4, 6),
        b=nn.Linear(width, 3),
        c=nn.Linear(4, 5),
        d=nn.Linear(5, 3),
    )


def line_of(function: Callable[..., Any], text: str = "") -> int:
    lines, first = inspect.getsourcelines(function)
    return next(first + k for k, line in enumerate(lines) if text in line)


def root_of_width(n: Any, h: Tensor) -> Tensor:
    return h * (1 / math.sqrt(h.shape[-1]))


def power_of_width(n: Any, h: Tensor) -> Tensor:
    return h * h.shape[-1] ** -0.5


def scalar_tensor(n: Any, h: Tensor) -> Tensor:
    return h / torch.tensor(float(h.shape[-1]))


def one_of_two_numbers(n: Any, h: Tensor) -> Tensor:
    return h / h.new_tensor([h.shape[-1], 1.0])[0]


def share(n: Any, h: Tensor) -> Tensor:
    return h.sum(-1, keepdim=True) / len(h.T) + h


def precision(n: Any, h: Tensor) -> Tensor:
    return F.layer_norm(h, (h.shape[1],), eps=1e-5 * h.shape[1])


def slope(n: Any, h: Tensor) -> Tensor:
    return F.leaky_relu(h, 1 / h.shape[1])


def filled(n: Any, h: Tensor) -> Tensor:
    return h * torch.full_like(h, h.shape[-1])


def whole_share(n: Any, h: Tensor) -> Tensor:
    return h * (h.shape[1] // 5)


def hard_slice(n: Any, h: Tensor) -> Tensor:
    return torch.cat([h[:, :4], 2 * h[:, 4:]], 1)


def pairs(n: Any, h: Tensor) -> Tensor:
    return torch.cat([h[:, k : k + 2] * (k + 1) for k in range(0, h.shape[1], 2)], 1)


def padded(n: Any, h: Tensor) -> Tensor:
    return F.pad(h, (0, 8 - h.shape[1]))[:, : h.shape[1]]


NUMBER, PLACES = "after a cut the forward pass computes with another number", "takes other positions here than before"
TOLD: dict[str, tuple[Between, str, str]] = {
    "root of the width": (root_of_width, f"{NUMBER} (0.5)", "h *"),
    "power of the width": (power_of_width, f"{NUMBER} (0.5)", "h *"),
    "tensor of one number": (scalar_tensor, f"{NUMBER} (4.0)", "h /"),
    "tensor of two numbers": (one_of_two_numbers, f"{NUMBER} (4.0, 1.0)", "h /"),
    "share by len": (share, f"{NUMBER} (4)", "len("),
    "precision of a norm": (precision, f"{NUMBER} (5e-05)", "layer_norm"),
    "slope": (slope, f"{NUMBER} (0.25)", "leaky_relu"),
    "filled": (filled, f"{NUMBER} (4)", "full_like"),
    "whole share": (whole_share, f"{NUMBER} (0)", "h *"),
    "slice of written bounds": (hard_slice, PLACES, "torch.cat"),
    "slices of two": (pairs, PLACES, "torch.cat"),
    "padding up to eight": (padded, PLACES, "F.pad"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_depends_on_the_width_is_withdrawn_with_the_line_and_nothing_else(name: str) -> None:
    between, text, line = TOLD[name]
    model = net(between)
    assert {g.name for g in graph_of(model, inputs()).groups} == {"a", "c"}
    graph = nk.trace(model, inputs())
    assert [g.name for g in graph.groups] == ["c"]
    reason = str(graph.denied["a"])
    assert text in reason
    assert f"at test_dryrun.py:{line_of(between, line)}" in reason
    assert "Store the number of the dense model" in reason or "Take the size from the tensor instead" in reason
    assert reason in str(graph.explain("a.weight", 0))
    laws.cut_equals_masked(model, inputs(), graph=graph)


FAILING: dict[str, tuple[Between, str]] = {
    "view": (lambda n, h: h.view(2, 6), r"shape '[2, 6]' is invalid for input of size"),
    "list of sizes": (lambda n, h: h.view([2, 2, 3]).flatten(1), "shape '[2, 2, 3]' is invalid for input of size"),
    "zeros of a written length": (lambda n, h: h + torch.zeros(6), "Attempting to broadcast a dimension of length 6"),
    "check by the user": (lambda n, h: h if h.shape[1] == 6 else 1 / 0, "division by zero"),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_after_a_cut_is_withdrawn_with_the_failure(name: str) -> None:
    between, text = FAILING[name]
    graph = nk.trace(net(between), inputs())
    assert [g.name for g in graph.groups] == ["c"]
    assert "after a cut the forward pass fails: " in str(graph.denied["a"])
    assert text in str(graph.denied["a"])


def turn_at_four(n: Any, h: Tensor) -> Tensor:
    return h * 2 if h.shape[1] > 4 else h


def turn_at_even(n: Any, h: Tensor) -> Tensor:
    return h * 2 if h.shape[1] % 2 == 0 else h


def turn_at_two(n: Any, h: Tensor) -> Tensor:
    return h * 2 if h.shape[1] > 2 else h


def at_most_three(n: Any, h: Tensor) -> Tensor:
    return h * min(h.shape[-1], 3)


def bounded(n: Any, h: Tensor) -> Tensor:
    return h.clamp(max=min(h.shape[-1], 3))


def squeezed(n: Any, h: Tensor) -> Tensor:
    return h.squeeze()


LIMITED: dict[str, tuple[Between, int]] = {
    "a turn at two": (turn_at_two, 3),
    "at most three": (at_most_three, 3),
    "bounded by three": (bounded, 3),
    "squeezed at one": (squeezed, 2),
}


@pytest.mark.parametrize("name", LIMITED)
def test_what_only_a_deep_cut_would_change_limits_the_cut(name: str) -> None:
    """So many must stay that nothing changes; a step more than that is the dry run's to give away or not."""
    between, needed = LIMITED[name]
    model = net(between)
    graph = nk.trace(model, inputs())
    least = {g.name: g.least for g in graph.groups}
    assert least["c"] == 1
    assert needed <= least["a"] <= 4
    plan = nk.plan(graph, target=nk.Ratio(0.9))
    assert nk.cut(model, plan).a.out_features == least["a"]
    with pytest.raises(nk.errors.IllegalPlan, match=rf"{least['a']} of the 6 units must stay"):
        graph["a"].check(torch.arange(7 - least["a"]).numpy())
    laws.cut_equals_masked(model, inputs(), ratios=(0.3, 0.9), seeds=(0, 1), graph=graph)


@pytest.mark.parametrize("width", [3, 4])
def test_of_few_units_the_deepest_cut_alone_is_given_up(width: int) -> None:
    """Three steps are all that four units have: the third is the deepest, and no reason to withdraw the others."""
    model = Net(lambda n, x: n.b(squeezed(n, n.a(x))), a=nn.Linear(4, width), b=nn.Linear(width, 3))
    graph = nk.trace(model, inputs())
    assert [(g.name, len(g), g.least) for g in graph.groups] == [("a", width, 2)]


@pytest.mark.parametrize("between", [turn_at_four, turn_at_even])
def test_another_turn_after_a_step_or_half_withdraws_the_group(between: Between) -> None:
    """With half of six units gone the other branch is taken, and with five: nothing deep enough is the same model."""
    graph = nk.trace(net(between), inputs())
    assert [g.name for g in graph.groups] == ["c"]
    assert "after a cut the forward pass runs other operations from here on (" in str(graph.denied["a"])
    assert "at test_dryrun.py:" in str(graph.denied["a"])


STEADY: dict[str, Between] = {
    "a branch that is the same": lambda n, h: h * max(2.0, 2.0 * (h.shape[1] < 1)),
    "a computed half": lambda n, h: torch.cat([h[:, : h.shape[1] // 2], h[:, h.shape[1] // 2 :] * 2], 1),
    "a size asked for and not used": lambda n, h: (h.shape[1] + 1) and h,
    "computed on the way": lambda n, h: h.view(h.shape[0], 1, h.shape[1]).flatten(1),
}


@pytest.mark.parametrize("name", STEADY)
def test_sizes_that_follow_are_no_reason(name: str) -> None:
    model = net(STEADY[name])
    graph = nk.trace(model, inputs())
    assert {g.name: g.least for g in graph.groups} == {"a": 1, "c": 1}
    assert graph.denied == {}
    laws.cut_equals_masked(model, inputs(), graph=graph)


COUNTED: dict[str, Between] = {
    "sum of ones": lambda n, h: h / torch.ones_like(h).sum(-1, keepdim=True),
    "sum of all ones": lambda n, h: h / torch.ones(h.shape[-1], 1).sum(),
    "norm of ones": lambda n, h: h / torch.ones_like(h).norm(dim=-1, keepdim=True),
    "last of a range": lambda n, h: h / torch.arange(h.shape[-1])[-1],
    "last of running sums": lambda n, h: h + torch.ones(h.shape[-1]).cumsum(0)[-1],
}


@pytest.mark.parametrize("name", COUNTED)
def test_a_width_counted_by_a_tensor_is_withdrawn_too(name: str) -> None:
    model = net(COUNTED[name])
    graph = nk.trace(model, inputs())
    laws.cut_equals_masked(model, inputs(), ratios=(0.3,), seeds=(0,), graph=graph)


@pytest.mark.parametrize("steps", range(1, 13))
def test_groups_of_one_length_are_told_apart_by_how_many_units_they_lose(steps: int) -> None:
    turns = range(dryrun._cycle(steps) * max(2, steps))
    counts = [(dryrun._count(turn, steps), dryrun._second_count(turn, steps)) for turn in turns]
    assert len(set(counts)) == len(counts)
    assert all(1 <= first <= steps and 0 <= second <= steps for first, second in counts)


def test_what_meets_one_made_length_stays_equally_long() -> None:
    """The same zeros are added to two layers that have nothing else in common: they lose equally many units, and the
    coupling says so, without a proof."""
    plant = specimen("one_made_length")
    graph = nk.trace(plant.build(), plant.inputs(), prove=False)
    assert [(g.name, len(g), g.part_count) for g in graph.groups] == [("left", 24, 2)]
    laws.uneven_cuts_equal_masked(graph.model, plant.inputs(), graph=graph)


def test_what_is_made_twice_has_two_lengths() -> None:
    model = net(lambda n, h: h + torch.zeros(h.shape[-1]) + torch.zeros(h.shape[-1]))
    assert [g.name for g in nk.trace(model, inputs()).groups] == ["a", "c"]


# -- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["root of the width", "share by len"])
def test_without_the_look_at_constants_the_law_is_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dryrun, "_changed_constant", lambda before, after: None)
    model = net(TOLD[name][0])
    graph = nk.trace(model, inputs())
    assert {g.name for g in graph.groups} == {"a", "c"}
    with pytest.raises(laws.LawBroken, match="DIFFERS FROM"):
        laws.cut_equals_masked(model, inputs(), graph=graph)


@pytest.mark.parametrize("between", [turn_at_four, turn_at_two], ids=["after a step", "deep"])
def test_without_the_look_at_the_calls_the_law_is_broken(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dryrun, "_other_calls", lambda *args: None)
    model = net(between)
    graph = nk.trace(model, inputs())
    with pytest.raises(laws.LawBroken, match="DIFFERS FROM"):
        laws.cut_equals_masked(model, inputs(), ratios=(0.8,), seeds=(0,), graph=graph)


def test_without_the_deepest_cut_a_squeeze_is_found_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dryrun, "_fathomed", lambda graph, model, inputs: graph)
    model = net(squeezed)
    graph = nk.trace(model, inputs())
    assert graph["a"].least == 1
    with pytest.raises(laws.LawBroken, match=r"failed|DIFFERS FROM|not comparable"):
        laws.cut_equals_masked(model, inputs(), ratios=(0.9,), seeds=(0,), graph=graph)


def test_the_model_is_untouched_by_the_proof() -> None:
    assert laws.model_is_untouched(net(root_of_width), inputs()) is None
