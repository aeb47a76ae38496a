"""Positions that have a meaning: reordered, taken by number, cut in unequal parts or picked.

Each model is either cut as it is masked, or refused with the reason: never silently wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import NothingToPrune
from niwaki.graph import rules
from niwaki.testing import laws
from tests.graph.nets import Net, group_with, held, status

Forward = Callable[..., Any]


def inputs() -> Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def net(forward: Forward, width: int = 6, **more: nn.Module | Tensor) -> Net:
    """Layer a makes six units, layer b reads ``width`` of something."""
    torch.manual_seed(0)
    return Net(forward, a=nn.Linear(4, 6), b=nn.Linear(width, 3), **more)


def hold(model: nn.Module, x: Tensor | None = None) -> nk.Graph:
    """The graph of a model that is cut as it is masked, at many places."""
    x = inputs() if x is None else x
    graph = nk.trace(model, x)
    laws.cut_equals_masked(model, x, ratios=(0.2, 0.6), seeds=(0, 1), graph=graph)
    return graph


REORDERED: dict[str, tuple[Forward, str]] = {
    "flip": (lambda n, x: n.b(n.a(x).flip(-1)), "flip reorders the positions of this axis"),
    "flip of a residual": (lambda n, x: n.b((h := n.a(x)) + h.flip(-1)), "flip reorders the positions of this axis"),
    "fliplr": (lambda n, x: n.b(n.a(x)[0].fliplr()), "fliplr reorders the positions of this axis"),
    "roll": (lambda n, x: n.b(n.a(x).roll(2, -1)), "roll reorders the positions of this axis"),
    "roll of all at once": (lambda n, x: n.b(n.a(x).roll(2)), "roll reorders the positions of this axis"),
    "quarter turn": (
        lambda n, x: n.b(torch.rot90(n.a(x), 1, [1, 2]).transpose(1, 2)),
        "rot90 reorders the positions of this axis",
    ),
    "list": (lambda n, x: n.b(n.a(x)[..., [5, 3, 1, 0, 2, 4]]), "positions taken by a list of numbers"),
    "order in a buffer": (lambda n, x: n.b(n.a(x)[..., n.order]), "positions taken by a list of numbers"),
    "gather": (lambda n, x: n.b(n.a(x).gather(-1, n.order.expand(2, 5, 6))), "gather with computed positions"),
    "shuffle of written sizes": (
        lambda n, x: n.b(n.a(x).view(2, 5, 2, 3).transpose(2, 3).reshape(2, 5, 6)),
        "after a cut the forward pass fails: shape '[2, 5, 2, 3]' is invalid",
    ),
    "triangle": (
        lambda n, x: n.b(n.a(x).unsqueeze(-1).expand(-1, -1, -1, 6).triu().sum(-1)),
        "triu keeps entries by their position",
    ),
    "every second by number": (
        lambda n, x: n.b((h := n.a(x)) * (torch.arange(h.shape[-1]) % 2)),
        "a tensor made in forward whose values differ by position",
    ),
}


@pytest.mark.parametrize("name", REORDERED)
def test_an_order_that_no_cut_can_keep_is_refused(name: str) -> None:
    forward, reason = REORDERED[name]
    with pytest.raises(NothingToPrune) as told:
        nk.trace(net(forward, order=torch.tensor([2, 0, 1, 5, 4, 3])), inputs())
    assert reason in str(told.value)


@pytest.mark.parametrize("op", ["flip", "roll"])
def test_a_rule_that_lets_the_order_pass_breaks_the_law(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault of the peers: shapes fit, the model runs, and the numbers are wrong."""
    rules.find(op)
    monkeypatch.setitem(rules.RULES, op, lambda call: call.like(call.tensors()[0]))
    with pytest.raises(laws.LawBroken, match="DIFFERS FROM"):
        hold(net(REORDERED[op][0]))


def shuffled(n: Any, x: Tensor) -> Tensor:
    h = n.a(x)
    return n.b(h.view(*h.shape[:2], 2, -1).transpose(2, 3).reshape(h.shape))


def shuffled_by_name(n: Any, x: Tensor) -> Tensor:
    return n.b(F.channel_shuffle(n.a(x).movedim(-1, 1).unsqueeze(-1), 2).squeeze(-1).movedim(1, -1))


@pytest.mark.parametrize("forward", [shuffled, shuffled_by_name])
def test_a_shuffle_of_two_halves_takes_pairs_and_knows_where_they_went(forward: Forward) -> None:
    """Unit i of the first half and of the second stand side by side after the shuffle."""
    graph = hold(net(forward))
    (group,) = graph.groups
    assert held(group, "a.weight:0") == [[0, 3], [1, 4], [2, 5]]
    assert held(group, "b.weight:1") == [[0, 1], [2, 3], [4, 5]]


BESIDE: dict[str, tuple[Forward, int]] = {
    "before": (lambda n, x: n.b(torch.cat([x, n.a(x)], -1)), 4),
    "behind": (lambda n, x: n.b(torch.cat([n.a(x), x], -1)), 0),
    "before, normed": (lambda n, x: n.b(n.norm(torch.cat([x, n.a(x)], -1).mT).mT), 4),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_the_input_keeps_its_place(name: str) -> None:
    forward, start = BESIDE[name]
    graph = hold(net(forward, 10, norm=nn.BatchNorm1d(10)))
    assert held(group_with(graph, "a.weight:0"), "b.weight:1") == [[start + i] for i in range(6)]
    assert status(graph, "b.weight:1") == "partly"
    assert not graph.prunable[("b.weight", 1)][[i for i in range(10) if not start <= i < start + 6]].any()


def test_a_written_slice_across_the_input_and_the_units_is_refused() -> None:
    with pytest.raises(NothingToPrune, match=r"after a cut the forward pass takes other positions|couples other"):
        nk.trace(net(lambda n, x: n.b(torch.cat([n.a(x), x], -1)[..., 2:9]), 7), inputs())


def thirds(n: Any, x: Tensor) -> Tensor:
    h = n.a(x)
    first = h.shape[-1] // 3
    return n.b(h.split([first, h.shape[-1] - first], -1)[1])


def test_an_unequal_split_by_computed_sizes_is_cut_where_they_follow() -> None:
    """What the first third makes is read by nobody: only the others are offered, if they are."""
    graph = hold(net(thirds, 4))
    assert sum(len(g) for g in graph.groups) < 6


@pytest.mark.parametrize(
    "forward",
    [
        lambda n, x: n.b(n.a(x).split([2, 4], -1)[1]),
        lambda n, x: n.b((p := n.a(x).split([2, 4], -1))[0].sum(-1, keepdim=True) * p[1]),
    ],
    ids=["one of them", "both"],
)
def test_an_unequal_split_of_written_sizes_is_refused(forward: Forward) -> None:
    with pytest.raises(NothingToPrune, match="split_with_sizes expects split_sizes to sum exactly to 5"):
        nk.trace(net(forward, 4), inputs())


# -- positions that the forward pass finds by looking ---------------------------------------------------------------


PICKED: dict[str, Forward] = {
    "the largest two": lambda n, x: n.a(x).topk(2, -1)[0],
    "the largest two, read": lambda n, x: n.c(n.a(x).softmax(-1).topk(2, -1)[0]),
    "who they are": lambda n, x: n.b(F.one_hot((h := n.a(x)).topk(2, -1)[1], h.shape[-1]).sum(-2).float() * h),
    "a row for the largest": lambda n, x: n.table[n.a(x).argmax(-1)],
}


@pytest.mark.parametrize("name", PICKED)
def test_picks_among_units_are_cut_with_the_removed_ones_out_of_the_race(name: str) -> None:
    graph = hold(net(PICKED[name], c=nn.Linear(2, 3), table=nn.Parameter(torch.randn(6, 3))))
    (group,) = graph.groups
    assert group.changes_statistics
    assert group.least == 2
    assert (("table", 0) in group.entries) == ("row" in name)


def test_removed_units_that_stay_in_the_race_break_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin's zeros would win against negative values."""
    from niwaki.surgery import reduced

    monkeypatch.setattr(reduced, "_ranked", lambda func, args, kwargs, todo: func(*args, **kwargs))
    with pytest.raises(laws.LawBroken, match="DIFFERS FROM"):
        hold(net(lambda n, x: (n.a(x) - 9.0).topk(2, -1)[0]))


REFUSED_PICKS: dict[str, tuple[Forward, str]] = {
    "gather of the same": (
        lambda n, x: n.c((h := n.a(x)).gather(-1, h.topk(2, -1)[1])),
        "gather with computed positions",
    ),
    "scatter": (
        lambda n, x: n.b(torch.zeros_like(h := n.a(x)).scatter(-1, h.topk(2, -1)[1], 1.0) * h),
        "are numbers for scatter",
    ),
    "one-hot of a written count": (
        lambda n, x: n.b(F.one_hot(n.a(x).topk(2, -1)[1], 6).sum(-2).float() * n.a(x)),
        "after a cut the forward pass fails: Attempting to broadcast a dimension of length 5",
    ),
    "all positions": (lambda n, x: n.a(x).topk(6, -1)[0], ""),
    "smallest": (lambda n, x: n.a(x).argmin(-1), "argmin over this axis changes with the number of its positions"),
}


@pytest.mark.parametrize("name", REFUSED_PICKS)
def test_picks_that_no_cut_can_follow_are_refused(name: str) -> None:
    forward, reason = REFUSED_PICKS[name]
    with pytest.raises(NothingToPrune) as told:
        nk.trace(net(forward, c=nn.Linear(2, 3)), inputs())
    assert reason in str(told.value)


NUMBERED: dict[str, Forward] = {
    "as a factor": lambda n, x: n.b(n.a(x)) * n.a(x).argmax(-1, keepdim=True),
    "as a summand": lambda n, x: n.b(n.a(x)) + n.a(x).argmax(-1, keepdim=True).float(),
    "compared with a number": lambda n, x: n.b(n.a(x)) * (n.a(x).argmax(-1, keepdim=True) == 0),
    "looked up in an embedding": lambda n, x: F.embedding(n.a(x).argmax(-1), n.table),
    "looked up in a longer table": lambda n, x: F.embedding(n.a(x).argmax(-1), n.longer),
    "its rest": lambda n, x: F.embedding(n.a(x).argmax(-1) % 2, n.table),
    "the next": lambda n, x: F.embedding((n.a(x).argmax(-1) + 1) % 6, n.table),
    "a token by its number": lambda n, x: n.b(n.a(x))[..., n.a(x).topk(2, -1)[1][0, 0] % 3],
    "handed out": lambda n, x: n.b(n.a(x).relu()).argmax(-1),
    "handed out of a network": lambda n, x: (n.b(n.a(x)), n.b(n.a(x)).argmax(-1)),
}


def tables() -> dict[str, nn.Parameter]:
    return {"table": nn.Parameter(torch.randn(6, 3)), "longer": nn.Parameter(torch.randn(9, 3))}


@pytest.mark.parametrize("name", NUMBERED)
def test_a_picked_position_that_is_used_as_a_number_is_refused_or_answers_alike(name: str) -> None:
    """A cut counts the positions anew: number 4 of six may be number 2 of four."""
    model, x = net(NUMBERED[name], **tables()), inputs()
    try:
        graph = nk.trace(model, x)
    except NothingToPrune:
        return
    assert status(graph, "b.weight:0") == "blocked", "the answers would be counted anew"
    laws.cut_equals_masked(model, x, ratios=(0.2, 0.6), seeds=(0, 1), graph=graph)


def masked_tokens(h: Tensor) -> Tensor:
    """Of batch x tokens: every second."""
    return (torch.arange(h.shape[1]) % 2 == 0).expand(h.shape[:2])


def written(index: Callable[[Tensor], Any], value: Callable[[Any, Tensor], Any]) -> Forward:
    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x).clone()
        h[index(h)] = value(n, h)
        return n.b(h)

    return forward


PUT: dict[str, Forward] = {
    "an embedding where tokens are masked": written(masked_tokens, lambda n, h: n.mark),
    "what a layer makes, where tokens are masked": written(masked_tokens, lambda n, h: n.c(h)[masked_tokens(h)]),
    "zeros where tokens are masked": written(masked_tokens, lambda n, h: 0.0),
    "ones where tokens are masked": written(masked_tokens, lambda n, h: torch.ones(())),
    "zeros where values are negative": written(lambda h: h < 0, lambda n, h: 0.0),
    "tokens by number": written(lambda h: (slice(None), torch.tensor([0, 2])), lambda n, h: n.mark),
    "tokens of each sentence by number": written(
        lambda h: (torch.tensor([0, 1]), torch.tensor([3, 2])), lambda n, h: n.mark.expand(2, -1)
    ),
    "one value for all": written(lambda h: (slice(None), torch.tensor([0, 2])), lambda n, h: h.new_ones(1, 2, 1)),
    "sentences added to": lambda n, x: n.b((h := n.a(x)).index_put((torch.tensor([1]),), n.c(h)[:1], accumulate=True)),
}


@pytest.mark.parametrize("name", PUT)
def test_what_is_written_at_some_positions_is_as_wide_as_what_it_replaces(name: str) -> None:
    mark = nn.Parameter(torch.linspace(1, 2, 6))
    graph = hold(net(PUT[name], mark=mark, c=nn.Linear(6, 6)))
    group = group_with(graph, "a.weight:0", "b.weight:1")
    assert held(group, "b.weight:1") == [[i] for i in range(6)]
    if "n.mark" in name or name == "an embedding where tokens are masked":
        assert held(group, "mark:0") == [[i] for i in range(6)]


NOT_PUT: dict[str, Forward] = {
    "units by number": written(lambda h: (..., torch.tensor([0, 2])), lambda n, h: 1.0),
    "units of tokens by number": written(
        lambda h: (slice(None), torch.tensor([0, 1]), torch.tensor([3, 2])), lambda n, h: 1.0
    ),
    "units under a mask of their own": written(lambda h: (..., torch.arange(6) > 2), lambda n, h: h[..., 3:] + 1),
}


@pytest.mark.parametrize("name", NOT_PUT)
def test_units_written_by_number_stay(name: str) -> None:
    with pytest.raises(NothingToPrune, match="positions taken by a list of numbers"):
        nk.trace(net(NOT_PUT[name]), inputs())


def test_a_rule_that_forgets_what_is_written_breaks_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    rules.find("index_put")
    monkeypatch.setitem(rules.RULES, "index_put", lambda call: call.like(call["self"]))
    model = net(PUT["an embedding where tokens are masked"], mark=nn.Parameter(torch.linspace(1, 2, 6)))
    with pytest.raises((laws.LawBroken, NothingToPrune)):
        hold(model)
