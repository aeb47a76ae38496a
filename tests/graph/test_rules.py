"""One tiny net per operation: which axes end up tied, in part or blocked, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import FaultyRule
from niwaki.graph.rules import RULES, find
from niwaki.testing import laws
from tests.graph.nets import Net, balances, graph_of, group_with, held, image, status, tokens


def layers(between: int = 6) -> dict[str, nn.Module]:
    return {"a": nn.Linear(4, 6), "b": nn.Linear(between, 3)}


def convs(between: int = 6) -> dict[str, nn.Module]:
    return {"a": nn.Conv2d(3, 6, 1), "b": nn.Conv2d(between, 2, 1)}


ONE = [[i] for i in range(6)]

# What stands between layer a (6 out) and layer b, b's width, and which of b's columns each of a's units holds.
BETWEEN_LINEARS: dict[str, tuple[Callable[..., Any], int, list[list[int]]]] = {
    "nothing": (lambda n, h: h, 6, ONE),
    "view": (lambda n, h: h.view(10, 6), 6, ONE),
    "view that splits the batch": (lambda n, h: h.view(2, 5, 1, 6), 6, ONE),
    "reshape that joins tokens and features": (
        lambda n, h: h.reshape(2, 30),
        30,
        [[i, i + 6, i + 12, i + 18, i + 24] for i in range(6)],
    ),
    "flatten after a transpose": (
        lambda n, h: h.transpose(1, 2).flatten(1),
        30,
        [[5 * i + t for t in range(5)] for i in range(6)],
    ),
    "permute and back": (lambda n, h: h.permute(2, 0, 1).permute(1, 2, 0), 6, ONE),
    "movedim": (lambda n, h: h.movedim(2, 0).movedim(0, -1), 6, ONE),
    "unsqueeze and squeeze": (lambda n, h: h.unsqueeze(1).squeeze(1), 6, ONE),
    "squeeze in place": (lambda n, h: h.unsqueeze(1).squeeze_(1), 6, ONE),
    "squeeze of all in place": (lambda n, h: h.unsqueeze(1).squeeze_(), 6, ONE),
    "expand": (lambda n, h: h.unsqueeze(1).expand(-1, 7, -1, -1), 6, ONE),
    "repeat": (lambda n, h: h.repeat(1, 1, 2), 12, [[i, i + 6] for i in range(6)]),
    "cat with itself": (lambda n, h: torch.cat([h, h], -1), 12, [[i, i + 6] for i in range(6)]),
    "stack and sum": (lambda n, h: torch.stack([h, h], 1).sum(1), 6, ONE),
    "padding": (lambda n, h: F.pad(h, (1, 2)), 9, [[i + 1] for i in range(6)]),
    "padding of another dimension": (lambda n, h: F.pad(h, (0, 0, 1, 1)), 6, ONE),
    "first token": (lambda n, h: h[:, 0], 6, ONE),
    "some tokens": (lambda n, h: h[:, 1:4], 6, ONE),
    "mean over tokens": (lambda n, h: h.mean(1), 6, ONE),
    "greatest over tokens": (lambda n, h: h.amax(1), 6, ONE),
    "second least over tokens": (lambda n, h: h.kthvalue(2, 1)[0], 6, ONE),
    "softmax over tokens": (lambda n, h: h.softmax(1), 6, ONE),
    "flip over tokens": (lambda n, h: h.flip(1), 6, ONE),
    "token lookup": (lambda n, h: h.index_select(1, torch.tensor([0, 3])), 6, ONE),
    "relu": (lambda n, h: h.relu(), 6, ONE),
    "relu in place": (lambda n, h: h.relu_(), 6, ONE),
    "sigmoid": (lambda n, h: h.sigmoid(), 6, ONE),
    "logarithm of what is never zero": (lambda n, h: h.exp().log(), 6, ONE),
    "a number added": (lambda n, h: h + 1, 6, ONE),
    "sum with itself": (lambda n, h: h + h.tanh(), 6, ONE),
    "dropout": (lambda n, h: F.dropout(h, 0.5, n.training), 6, ONE),
    "a linear tensor product": (lambda n, h: torch.einsum("bth->bth", h), 6, ONE),
    "glu over pairs": (lambda n, h: F.glu(torch.cat([h, h], -1)), 6, ONE),
}


@pytest.mark.parametrize("name", BETWEEN_LINEARS)
def test_what_stands_between_two_linear_layers_ties_them_position_by_position(name: str) -> None:
    between, width, columns = BETWEEN_LINEARS[name]
    graph = graph_of(Net(lambda n, x: n.b(between(n, n.a(x))), **layers(width)), tokens())
    assert len(graph.groups) == 1
    group = graph.groups[0]
    assert {str(m) for m in group.members} >= {"makes a.weight[0]", "follows a.bias[0]", "takes b.weight[1]"}
    assert held(group, "b.weight:1") == columns
    assert held(group, "a.weight:0") == held(group, "a.bias:0") == ONE
    assert group.parts == ()
    assert not group.changes_statistics
    assert (status(graph, "a.weight:1"), status(graph, "b.weight:0"), status(graph, "b.bias:0")) == ("blocked",) * 3


BETWEEN_CONVS: dict[str, tuple[Callable[..., Any], dict[str, nn.Module]]] = {
    "max pooling": (lambda n, h: F.max_pool2d(h, 2), {}),
    "average pooling": (lambda n, h: F.avg_pool2d(h, 2), {}),
    "adaptive pooling": (lambda n, h: F.adaptive_avg_pool2d(h, 3), {}),
    "nearest upsampling": (lambda n, h: F.interpolate(h, scale_factor=2), {}),
    "bilinear upsampling": (lambda n, h: F.interpolate(h, size=(9, 9), mode="bilinear"), {}),
    "spatial padding": (lambda n, h: F.pad(h, (1, 1, 1, 1)), {}),
    "reflection padding": (lambda n, h: F.pad(h, (1, 1, 1, 1), mode="reflect"), {}),
    "mean over space, kept": (lambda n, h: h.mean((2, 3), keepdim=True), {}),
    "flatten space and unflatten": (lambda n, h: h.flatten(2).unflatten(2, (6, 6)), {}),
    "one slope for all": (lambda n, h: n.p(h), {"p": nn.PReLU()}),
}


@pytest.mark.parametrize("name", BETWEEN_CONVS)
def test_what_stands_between_two_convolutions_ties_them_channel_by_channel(name: str) -> None:
    between, more = BETWEEN_CONVS[name]
    graph = graph_of(Net(lambda n, x: n.b(between(n, n.a(x))), **convs(), **more), image())
    group = group_with(graph, "a.weight:0", "b.weight:1")
    assert len(graph.groups) == 1
    assert (group.kind, len(group)) == ("channel", 6)
    assert held(group, "b.weight:1") == ONE
    assert status(graph, "a.weight:2") == "blocked"


@pytest.mark.parametrize("name", BETWEEN_CONVS)
def test_channels_that_vanish_still_vanish_after_it(name: str) -> None:
    between, more = BETWEEN_CONVS[name]
    graph = graph_of(Net(lambda n, x: between(n, n.a(x)).sum(1), a=nn.Conv2d(3, 6, 1), **more), image())
    assert status(graph, "a.weight:0") == "prunable"


def test_a_flattened_map_gives_each_channel_its_block_of_columns() -> None:
    net = Net(lambda n, x: n.b(n.a(x).flatten(1)), a=nn.Conv2d(3, 6, 5), b=nn.Linear(24, 3))
    group = group_with(graph_of(net, image()), "a.weight:0", "b.weight:1")
    assert held(group, "b.weight:1") == [[4 * i + k for k in range(4)] for i in range(6)]


def test_a_sum_of_products_of_a_batch() -> None:
    net = Net(
        lambda n, x: n.b(torch.addbmm(n.c, x, n.w)),
        w=nn.Parameter(torch.ones(2, 4, 6)),
        c=nn.Parameter(torch.ones(6)),
        b=nn.Linear(6, 3),
    )
    graph = graph_of(net, tokens())
    assert len(group_with(graph, "w:2", "c:0", "b.weight:1")) == 6
    assert status(graph, "w:0") == status(graph, "w:1") == "blocked"


# -- norms ----------------------------------------------------------------------------------------------------


def normed(norm: nn.Module) -> Net:
    return Net(lambda n, x: n.b(n.n(n.a(x))), n=norm, **convs())


def test_batch_norm_follows_with_all_four_vectors() -> None:
    group = group_with(graph_of(normed(nn.BatchNorm2d(6)), image()), "a.weight:0")
    followers = {m.name for m in group.members if m.role == "follows"}
    assert followers == {"a.bias", "n.weight", "n.bias", "n.running_mean", "n.running_var"}
    assert not group.changes_statistics


def test_group_norm_keeps_its_groups_equal_and_changes_statistics() -> None:
    group = group_with(graph_of(normed(nn.GroupNorm(3, 6)), image()), "a.weight:0", "n.weight:0", "n.bias:0")
    assert group.part_count == 3
    assert balances(group) == [([0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 1, 1])]
    assert group.changes_statistics


def test_group_norm_of_one_channel_each_is_free() -> None:
    group = group_with(graph_of(normed(nn.GroupNorm(6, 6)), image()), "a.weight:0", "n.weight:0")
    assert group.parts == ()
    assert not group.changes_statistics


def test_group_norm_without_a_weight_balances_all_the_same() -> None:
    group = group_with(graph_of(normed(nn.GroupNorm(3, 6, affine=False)), image()), "a.weight:0", "b.weight:1")
    assert balances(group) == [([0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 1, 1])]
    assert group.changes_statistics


@pytest.mark.parametrize(
    ("norm", "tied"),
    [
        (nn.LayerNorm(6), ("n.weight:0", "n.bias:0")),
        (nn.RMSNorm(6), ("n.weight:0",)),
        (nn.LayerNorm((5, 6)), ("n.weight:1", "n.bias:1")),
        (nn.LayerNorm(6, elementwise_affine=False), ()),
    ],
    ids=["layer", "rms", "two dimensions", "no weight"],
)
def test_layer_and_rms_norm_tie_and_change_statistics(norm: nn.Module, tied: tuple[str, ...]) -> None:
    graph = graph_of(Net(lambda n, x: n.b(n.n(n.a(x))), n=norm, **layers()), tokens())
    group = group_with(graph, "a.weight:0", "b.weight:1", *tied)
    assert group.changes_statistics


# -- convolutions ---------------------------------------------------------------------------------------------


def test_a_depthwise_filter_follows_its_channel() -> None:
    net = Net(lambda n, x: n.b(n.d(n.a(x))), d=nn.Conv2d(6, 6, 3, groups=6), **convs())
    group = group_with(graph_of(net, image()), "a.weight:0", "d.weight:0", "b.weight:1")
    assert {str(m) for m in group.members} == {
        "makes a.weight[0]",
        "takes b.weight[1]",
        "follows a.bias[0]",
        "follows d.weight[0]",
        "follows d.bias[0]",
    }
    assert held(group, "d.weight:0") == ONE


def test_a_grouped_convolution_gives_columns_rows_and_whole_groups() -> None:
    """6 channels in two groups of 3: column j of the weight is channel j of both groups."""
    net = Net(lambda n, x: n.b(n.g(n.a(x))), g=nn.Conv2d(6, 8, 1, groups=2), **convs(8))
    graph = graph_of(net, image())
    columns = group_with(graph, "a.weight:0", "g.weight:1")
    assert len(columns) == 3
    assert held(columns, "a.weight:0") == [[0, 3], [1, 4], [2, 5]]
    rows = [g for g in graph.groups if "a.weight" not in {m.name for m in g.members}]
    assert len(rows) == 1
    assert balances(rows[0]) == [([0, 0, 0, 0, 1, 1, 1, 1], [1] * 8)]
    whole = group_with(graph, "a.weight:0", "b.weight:1")
    assert held(whole, "a.weight:0") == [[0, 1, 2], [3, 4, 5]]
    assert held(whole, "b.weight:1") == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_transposed_convolution_takes_along_rows_and_makes_along_columns() -> None:
    net = Net(lambda n, x: n.b(n.t(n.a(x))), t=nn.ConvTranspose2d(6, 5, 2), **convs(5))
    graph = graph_of(net, image())
    assert "takes t.weight[0]" in map(str, group_with(graph, "a.weight:0", "t.weight:0").members)
    made = group_with(graph, "t.weight:1", "b.weight:1", "t.bias:0")
    assert (len(made), made.makers[0].axis) == (5, ("t.weight", 1))


# -- products -------------------------------------------------------------------------------------------------


def heads() -> dict[str, nn.Module]:
    return {name: nn.Linear(4, 6, bias=False) for name in ("q", "k", "v")} | {"o": nn.Linear(6, 3)}


PRODUCTS: dict[str, Callable[..., Any]] = {
    "matmul": lambda n, x: n.o((n.q(x) @ n.k(x).mT).softmax(-1) @ n.v(x)),
    "bmm": lambda n, x: n.o(torch.bmm(torch.bmm(n.q(x), n.k(x).transpose(1, 2)).softmax(-1), n.v(x))),
    "einsum": lambda n, x: n.o(
        torch.einsum("bij,bjd->bid", torch.einsum("bid,bjd->bij", n.q(x), n.k(x)).softmax(-1), n.v(x))
    ),
    "attention of a written scale": lambda n, x: n.o(F.scaled_dot_product_attention(n.q(x), n.k(x), n.v(x), scale=0.5)),
    "attention to several hands of values": lambda n, x: n.o(
        F.scaled_dot_product_attention(n.q(x), n.k(x), torch.stack([v := n.v(x), v.tanh(), -v]), scale=0.5).sum(0)
    ),
    "attention to the keys of one sentence": lambda n, x: n.o(
        F.scaled_dot_product_attention(n.q(x), n.k(x)[0], n.v(x)[:1], scale=0.5)
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_attention_ties_queries_to_keys_and_values_to_the_output(name: str) -> None:
    graph = graph_of(Net(PRODUCTS[name], **heads()), tokens())
    assert len(graph.groups) == 2
    assert held(group_with(graph, "q.weight:0", "k.weight:0"), "q.weight:0") == ONE
    assert held(group_with(graph, "v.weight:0", "o.weight:1"), "o.weight:1") == ONE
    laws.cut_equals_masked(Net(PRODUCTS[name], **heads()), tokens(), ratios=(0.4,), seeds=(0,))


def test_attention_that_takes_its_scale_from_the_head_keeps_the_head() -> None:
    net = Net(lambda n, x: n.o(F.scaled_dot_product_attention(n.q(x), n.k(x), n.v(x))), **heads())
    graph = graph_of(net, tokens())
    assert status(graph, "q.weight:0") == status(graph, "k.weight:0") == "blocked"
    assert status(graph, "v.weight:0") == "prunable"
    assert "the attention's scale is computed from this dimension" in str(graph.explain("q.weight", 0))


EQUATIONS = {
    "written out": "bti,bti->bt",
    "ellipsis": "bti,...i->bt",
    "ellipsis on both sides": "b...i,b...i->b...",
    "implicit result": "bti,bti",
    "spaces": " b t i , b t i -> b t ",
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_letter_that_an_einsum_sums_over_ties_both_sides(name: str) -> None:
    graph = graph_of(Net(lambda n, x: torch.einsum(EQUATIONS[name], n.q(x), n.k(x)), **heads()), tokens())
    assert len(graph.groups) == 1
    group = group_with(graph, "q.weight:0", "k.weight:0")
    assert held(group, "q.weight:0") == held(group, "k.weight:0") == ONE


def test_a_diagonal_of_an_einsum_blocks() -> None:
    net = Net(lambda n, x: torch.einsum("bii,bti->bt", n.q(x), n.k(x)), q=nn.Linear(4, 5), k=nn.Linear(4, 5))
    graph = graph_of(net, tokens())
    assert status(graph, "q.weight:0") == status(graph, "k.weight:0") == "blocked"
    assert "einsum with a repeated letter in one term" in str(graph.explain("q.weight", 0))


@pytest.mark.parametrize(
    ("equation", "ranks", "spelled"),
    [
        ("ij,jk->ik", (2, 2), (["ij", "jk"], "ik")),
        ("ij , jk", (2, 2), (["ij", "jk"], "ik")),
        ("ji,kj", (2, 2), (["ji", "kj"], "ik")),
        ("i,i", (1, 1), (["i", "i"], "")),
        ("...i,i->...", (3, 1), (["abi", "i"], "ab")),
        ("...i,...j", (3, 2), (["abi", "bj"], "abij")),
        ("...i,...->...i", (2, 1), (["ai", "a"], "ai")),
        ("a...,b...", (2, 3), (["ad", "bcd"], "cdab")),
        ("ii->i", (2,), None),
        ("ij,kk->ij", (2, 2), None),
    ],
)
def test_an_einsum_equation_is_spelled_out(equation: str, ranks: tuple[int, ...], spelled: object) -> None:
    rule = find("einsum")
    assert rule is not None
    assert import_module(rule.__module__).spelled_out(equation, ranks) == spelled


def test_a_vocabulary_stays_and_its_columns_may_go() -> None:
    net = Net(lambda n, x: n.b(n.e(x)), e=nn.Embedding(10, 6), b=nn.Linear(6, 3))
    graph = graph_of(net, torch.zeros(2, 5, dtype=torch.int64))
    group = group_with(graph, "e.weight:1", "b.weight:1")
    assert group.kind == "hidden"
    assert status(graph, "e.weight:0") == "blocked"
    assert "the vocabulary of an embedding" in str(graph.explain("e.weight", 0))


def test_addmm_ties_its_bias_to_the_columns() -> None:
    net = Net(
        lambda n, x: n.b(torch.addmm(n.bias, x, n.w)),
        w=nn.Parameter(torch.ones(4, 6)),
        bias=nn.Parameter(torch.ones(6)),
        b=nn.Linear(6, 3),
    )
    assert held(group_with(graph_of(net, torch.ones(2, 4)), "w:1", "bias:0", "b.weight:1"), "bias:0") == ONE


# -- two layers side by side ------------------------------------------------------------------------------------


def pair(forward: Callable[..., Any], *, width: int = 6) -> Net:
    return Net(forward, a=nn.Linear(4, 6), c=nn.Linear(4, 6), b=nn.Linear(width, 3))


TYING: dict[str, Callable[..., Any]] = {
    "sum": lambda n, x: n.b(n.a(x) + n.c(x)),
    "difference": lambda n, x: n.b(n.a(x) - n.c(x)),
    "product": lambda n, x: n.b(n.a(x) * n.c(x)),
    "gate": lambda n, x: n.b(n.a(x) * n.c(x).sigmoid()),
    "greatest": lambda n, x: n.b(torch.maximum(n.a(x), n.c(x))),
    "choice": lambda n, x: n.b(torch.where(x[..., :1] > 0, n.a(x), n.c(x))),
    "stack": lambda n, x: n.b(torch.stack([n.a(x), n.c(x)]).sum(0)),
    "sum in place": lambda n, x: n.b(n.a(x).add_(n.c(x))),
}


@pytest.mark.parametrize("name", TYING)
def test_layers_that_meet_element_by_element_go_together(name: str) -> None:
    graph = graph_of(pair(TYING[name]), tokens())
    assert len(graph.groups) == 1
    group = group_with(graph, "a.weight:0", "c.weight:0", "b.weight:1")
    assert held(group, "a.weight:0") == held(group, "c.weight:0") == held(group, "b.weight:1") == ONE


def test_layers_that_meet_token_after_token_go_together() -> None:
    graph = graph_of(pair(lambda n, x: n.b(torch.cat([n.a(x), n.c(x)], 1))), tokens())
    assert held(group_with(graph, "a.weight:0", "c.weight:0", "b.weight:1"), "c.weight:0") == ONE


def test_layers_side_by_side_stay_apart() -> None:
    graph = graph_of(pair(lambda n, x: n.b(torch.cat([n.a(x), n.c(x)], -1)), width=12), tokens())
    assert held(group_with(graph, "a.weight:0", "b.weight:1"), "b.weight:1") == ONE
    assert held(group_with(graph, "c.weight:0", "b.weight:1"), "b.weight:1") == [[6 + i] for i in range(6)]
    assert status(graph, "b.weight:1") == "prunable"


def test_what_stands_beside_the_input_is_prunable_in_part() -> None:
    net = Net(lambda n, x: n.b(torch.cat([x, n.a(x)], -1)), **layers(10))
    graph = graph_of(net, tokens())
    assert status(graph, "b.weight:1") == "partly"
    assert held(group_with(graph, "a.weight:0"), "b.weight:1") == [[4 + i] for i in range(6)]
    text = str(graph.explain("b.weight", 1))
    assert "4 of 10 indices are blocked: dimension 2 of the model's input '0'" in text


def test_padding_is_prunable_in_part() -> None:
    graph = graph_of(Net(lambda n, x: n.b(F.pad(n.a(x), (1, 2))), **layers(9)), tokens())
    assert status(graph, "a.weight:0") == "prunable"
    assert status(graph, "b.weight:1") == "partly"


def test_parameters_that_scale_and_shift_follow() -> None:
    net = Net(
        lambda n, x: n.b(n.a(x) * n.scale + n.shift),
        scale=nn.Parameter(torch.ones(6)),
        shift=torch.ones(1, 6),
        **layers(),
    )
    group = group_with(graph_of(net, tokens()), "a.weight:0", "scale:0", "shift:1", "b.weight:1")
    assert "follows scale[0]" in map(str, group.members)


def test_slopes_per_channel_follow() -> None:
    net = Net(lambda n, x: n.b(n.p(n.a(x))), p=nn.PReLU(6), **convs())
    group = group_with(graph_of(net, image()), "a.weight:0", "p.weight:0", "b.weight:1")
    assert held(group, "p.weight:0") == ONE


# -- parts of a dimension ---------------------------------------------------------------------------------------


def test_the_two_halves_of_a_gate_go_by_pairs() -> None:
    for gate in (
        lambda h: F.glu(h),
        lambda h: (lambda u, v: u * v.sigmoid())(*h.chunk(2, -1)),
        lambda h: (lambda u, v: u * v.sigmoid())(*h.split(3, -1)),
        lambda h: h[..., : h.shape[-1] // 2] * h[..., h.shape[-1] // 2 :].sigmoid(),
    ):
        graph = graph_of(Net(lambda n, x, gate=gate: n.b(gate(n.a(x))), **layers(3)), tokens())
        group = group_with(graph, "a.weight:0", "b.weight:1")
        assert held(group, "a.weight:0") == [[0, 3], [1, 4], [2, 5]]
        assert held(group, "b.weight:1") == [[0], [1], [2]]


def test_chunks_that_go_apart_keep_equal_counts() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        u, v = n.a(x).chunk(2, -1)
        return n.b(u) + n.c(v)

    graph = graph_of(Net(forward, a=nn.Linear(4, 6), b=nn.Linear(3, 3), c=nn.Linear(3, 3)), tokens())
    group = group_with(graph, "a.weight:0", "b.weight:1", "c.weight:1")
    assert balances(group) == [([0, 0, 0, 1, 1, 1], [1] * 6)]
    assert held(group, "b.weight:1") == [[0], [1], [2], [], [], []]
    assert held(group, "c.weight:1") == [[], [], [], [0], [1], [2]]


WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], list[list[int]]]] = {
    "unequal split": (lambda h: torch.cat(h.split([2, 4], -1)[::-1], -1), [[4], [5], [0], [1], [2], [3]]),
    "slice from the middle": (lambda h: h[..., 1:3], [[0], [1]]),
    "every second": (lambda h: h[..., ::2], [[0], [1], [2]]),
    "all but the last": (lambda h: h[..., :-2], [[0], [1], [2], [3]]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_part_of_written_bounds_is_followed_and_fails_the_dry_run(name: str) -> None:
    """The rules cannot know whether a bound was computed from the shape; the dry run finds out that it was not."""
    part, columns = WRITTEN[name]
    net = Net(lambda n, x: n.b(part(n.a(x))), **layers(len(columns)))
    graph = graph_of(net, tokens())
    found = [column for g in graph.groups for column in held(g, "b.weight:1")]
    assert found == columns
    assert graph.ledger.suspects
    with pytest.raises(nk.errors.NothingToPrune, match="after a cut the forward pass"):
        nk.trace(net, tokens())


COMPUTED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "first and rest": (lambda h: h[..., : h.shape[-1] // 3] + h[..., h.shape[-1] // 3 :].mean(-1, keepdim=True), 2),
    "halves": (lambda h: torch.cat([h[..., h.shape[-1] // 2 :], h[..., : h.shape[-1] // 2]], -1), 6),
    "thirds": (lambda h: torch.cat(h.tensor_split(3, -1)[::-1], -1), 6),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_a_part_of_computed_bounds_is_offered(name: str) -> None:
    part, width = COMPUTED[name]
    torch.manual_seed(0)
    net, x = Net(lambda n, x: n.b(part(n.a(x))), **layers(width)), torch.randn(2, 5, 4)
    assert laws.cut_equals_masked(net, x, seeds=(0,)) is None


def test_positions_that_no_slice_took_stay() -> None:
    """A table longer than this input needs: what a longer input would take must not go."""
    net = Net(lambda n, x: n.b(n.a(x) * n.t[:6]), t=nn.Parameter(torch.ones(9)), **layers())
    graph = graph_of(net, tokens())
    assert status(graph, "t:0") == "partly"
    assert "3 of 9 indices are blocked: positions that this forward pass did not take" in str(graph.explain("t", 0))


LASTS = "a sum over values that do not vanish when their unit is masked"
CONSTANT = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
BLOCKING: dict[str, tuple[Callable[..., Any], int, str]] = {
    "slice of a half": (lambda n, h: h[..., :3], 3, "parts of an axis must keep equally many positions"),
    "flip": (lambda n, h: h.flip(-1), 6, "flip reorders the positions of this axis"),
    "roll": (lambda n, h: h.roll(1, -1), 6, "roll reorders the positions of this axis"),
    "lookup": (lambda n, h: h.index_select(-1, torch.tensor([0, 2])), 2, "positions taken by a list of numbers"),
    "index": (lambda n, h: h[..., [0, 2]], 2, "positions taken by a list of numbers"),
    "gather": (lambda n, h: h.gather(-1, h.argsort(-1)), 6, "argsort runs over this axis"),
    "sort": (lambda n, h: h.sort(-1)[0], 6, "sort runs over this axis"),
    "msort": (lambda n, h: h.permute(2, 0, 1).msort().permute(1, 2, 0), 6, "msort runs over this axis"),
    "cumulative product": (lambda n, h: h.cumprod(-1), 6, "cumprod runs over this axis"),
    "cumulative sum of what lasts": (lambda n, h: h.sigmoid().cumsum(-1), 6, LASTS),
    "padding of ones": (lambda n, h: F.pad(h, (1, 2), value=1.0), 9, "padding of this axis that is not zeros"),
    "added constant": (lambda n, h: h + CONSTANT, 6, "a constant tensor that is neither a parameter, a buffer nor"),
    "added ramp": (lambda n, h: h + torch.arange(6.0), 6, "a tensor made in forward whose values differ by position"),
    "logarithm": (lambda n, h: h.log(), 6, "log of values that are zero when masked"),
    "logarithm in place": (lambda n, h: h.log_(), 6, "log of values that are zero when masked"),
    "negative power": (lambda n, h: h**-0.5, 6, "pow of values that are zero when masked"),
    "power by a tensor": (lambda n, h: h ** h.tanh(), 6, "pow of values that are zero when masked"),
    "division by a unit": (lambda n, h: 1 / h, 6, "reciprocal of values that are zero when masked"),
    "division by another": (lambda n, h: h / h.tanh(), 6, "division by values that are zero when masked"),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_what_no_cut_can_follow_blocks_both_sides(name: str) -> None:
    between, width, reason = BLOCKING[name]
    graph = graph_of(Net(lambda n, x: n.b(between(n, n.a(x))), **layers(width)), tokens())
    assert status(graph, "a.weight:0") == status(graph, "a.bias:0") == status(graph, "b.weight:1") == "blocked"
    assert graph.groups == ()
    assert reason in str(graph.explain("a.weight", 0))


@pytest.mark.parametrize(
    ("reduce", "reason"),
    [
        (lambda h: h[..., 0], "positions taken by number"),
        (lambda h: h.unbind(-1)[0], "positions taken by number"),
        (lambda h: h.amax(-1), "amax over this axis changes with the number of its positions"),
        (lambda h: h.median(-1)[0], "median over this axis changes with the number of its positions"),
        (lambda h: h.argmin(-1), "argmin over this axis changes with the number of its positions"),
        (lambda h: h.sigmoid().norm(dim=-1), LASTS),
        (lambda h: torch.linalg.vector_norm(h, 0, dim=-1), "linalg_vector_norm over this axis changes"),
        (lambda h: h, "dimension 2 of the model's output"),
    ],
    ids=["select", "unbind", "amax", "median", "argmin", "norm of what lasts", "count", "output"],
)
def test_what_takes_single_positions_or_extremes_blocks(reduce: Callable[..., Any], reason: str) -> None:
    graph = graph_of(Net(lambda n, x: reduce(n.a(x)), a=nn.Linear(4, 6)), tokens())
    assert status(graph, "a.weight:0") == "blocked"
    assert reason in str(graph.explain("a.weight", 0))


def test_a_position_taken_and_not_used_blocks_nothing() -> None:
    def looks(n: Any, x: Tensor) -> Tensor:
        h = n.a(x)
        h[..., 0]  # its shape alone may be wanted
        return n.b(h)

    assert status(graph_of(Net(looks, **layers()), tokens()), "a.weight:0") == "prunable"


@pytest.mark.parametrize("order", [1, 2, 3.0, float("inf")])
def test_a_norm_of_what_vanishes_ties(order: float) -> None:
    net = Net(lambda n, x: torch.linalg.vector_norm(n.a(x), order, dim=-1), a=nn.Linear(4, 6))
    graph = graph_of(net, tokens())
    assert status(graph, "a.weight:0") == "prunable"
    assert not graph.groups[0].changes_statistics


def test_a_unit_that_is_all_there_is_of_an_axis_stays() -> None:
    """Unit 0 of layer a holds the only column of b."""
    net = Net(lambda n, x: n.b(n.a(x)), a=nn.Linear(4, 1), b=nn.Linear(1, 3))
    graph = graph_of(net, tokens())
    assert status(graph, "a.weight:0") == "blocked"
    assert "it is all there is of an axis" in str(graph.explain("a.weight", 0))


# -- does a masked zero stay zero? ------------------------------------------------------------------------------
# The sum over the units is the same masked and cut only if a masked unit adds nothing to it.

CLEAN: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda h: h,
    "relu": lambda h: h.relu(),
    "gelu": lambda h: F.gelu(h),
    "silu": lambda h: F.silu(h),
    "tanh": lambda h: h.tanh(),
    "absolute": lambda h: h.abs(),
    "square": lambda h: h**2,
    "root": lambda h: h.abs().sqrt(),
    "times a number": lambda h: 3 * h,
    "over a number": lambda h: h / 3,
    "over what is never zero": lambda h: h / (h.abs() + 1),
    "gated by itself": lambda h: h * h.sigmoid(),
    "clamped about zero": lambda h: h.clamp(-1, 1),
    "clamped from below at zero": lambda h: h.clamp(min=0),
    "filled with zeros": lambda h: h.masked_fill(h > 0, 0.0),
    "chosen from zeros": lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
    "leaky": lambda h: F.leaky_relu(h),
    "elu": lambda h: F.elu(h),
    "sum of clean": lambda h: h + h.tanh(),
    "hardtanh": lambda h: F.hardtanh(h),
}
SOILED: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda h: h.sigmoid(),
    "exponential": lambda h: h.exp(),
    "cosine": lambda h: h.cos(),
    "softplus": lambda h: F.softplus(h),
    "hard sigmoid": lambda h: F.hardsigmoid(h),
    "a number added": lambda h: h + 1,
    "from a number": lambda h: 1 - h,
    "to the power nought": lambda h: h**0,
    "two to the power": lambda h: 2**h,
    "clamped above zero": lambda h: h.clamp(min=0.1),
    "clamped below zero": lambda h: h.clamp(max=-0.1),
    "filled with ones": lambda h: h.masked_fill(h > 0, 1.0),
    "compared": lambda h: (h >= 0).float(),
    "sum with soiled": lambda h: h + h.sigmoid(),
    "product of soiled": lambda h: h.sigmoid() * h.cos(),
    "soiled over a number": lambda h: h.sigmoid() / 3,
    "equal parts of a softmax over tokens": lambda h: h.softmax(1),
    "relu of soiled": lambda h: h.sigmoid().relu(),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_sum_over_values_that_vanish_may_lose_units(name: str) -> None:
    graph = graph_of(Net(lambda n, x: CLEAN[name](n.a(x)).sum(-1), a=nn.Linear(4, 6)), tokens())
    assert status(graph, "a.weight:0") == "prunable"


@pytest.mark.parametrize("name", SOILED)
def test_a_sum_over_values_that_last_keeps_its_units(name: str) -> None:
    graph = graph_of(Net(lambda n, x: SOILED[name](n.a(x)).sum(-1), a=nn.Linear(4, 6)), tokens())
    assert status(graph, "a.weight:0") == "blocked"
    assert LASTS in str(graph.explain("a.weight", 0))


def test_a_weight_makes_soiled_values_vanish_again() -> None:
    graph = graph_of(Net(lambda n, x: n.b(n.a(x).sigmoid()).sum(), **layers()), tokens())
    assert status(graph, "a.weight:0") == status(graph, "b.weight:0") == "prunable"


def test_a_product_needs_one_side_that_vanishes() -> None:
    def product(left: Callable[[Tensor], Tensor]) -> nk.Graph:
        return graph_of(pair(lambda n, x: left(n.a(x)) @ n.c(x).sigmoid().mT), tokens())

    assert status(product(torch.tanh), "a.weight:0") == "prunable"
    assert status(product(torch.sigmoid), "a.weight:0") == "blocked"


def pad_with_ones(n: Any, x: Tensor) -> Tensor:
    return F.pad(n.a(x).unsqueeze(-1), (1, 1), value=1.0).sum(2)


def write_through_a_view(n: Any, x: Tensor) -> Tensor:
    h = n.a(x)
    h.view(10, 6).add_(1.0)
    return h.sum(-1)


def write_through_detach(n: Any, x: Tensor) -> Tensor:
    h = n.a(x)
    h.detach().copy_(h.sigmoid())
    return h.sum(-1)


def heads_whose_values_last(n: Any, x: Tensor) -> Tensor:
    h = n.a(x).unsqueeze(-1).transpose(1, 2)
    return F.scaled_dot_product_attention(h, h, h.sigmoid(), scale=1.0).sum(1)


HOLES: dict[str, Callable[..., Any]] = {
    "where with ones": lambda n, x: torch.where((h := n.a(x)) > 0, h, torch.ones_like(h)).sum(-1),
    "hardtanh above zero": lambda n, x: F.hardtanh(n.a(x), 0.5, 1.0).sum(-1),
    "product with ones": lambda n, x: (h := n.a(x).sigmoid()) @ h.new_ones(h.shape[-1], 3),
    "einsum of three": lambda n, x: torch.einsum("bti,bti,bti->bt", *[n.a(x).sigmoid()] * 3),
    "norm without a weight": lambda n, x: n.norm(n.a(x).sigmoid().mT).sum(1),
    "space padded with ones": pad_with_ones,
    "filled where a buffer says": lambda n, x: n.a(x).sigmoid().masked_fill(n.mask, 0.0).sum(-1),
    "rows looked up by a number of each unit": lambda n, x: (n.a(x).unsqueeze(-1) + n.table(n.ids)).sum(2),
    "order over tokens": lambda n, x: n.a(x).sort(1)[1].sum(-1),
    "sums of exponentials over tokens": lambda n, x: n.a(x).logcumsumexp(1).sum(-1),
    "heads whose values last": heads_whose_values_last,
    "writing through a view": write_through_a_view,
    "writing through detach": write_through_detach,
}


@pytest.mark.parametrize("name", HOLES)
def test_values_that_last_are_seen_wherever_they_come_from(name: str) -> None:
    tables = {"mask": torch.arange(6) % 3 == 0, "table": nn.Embedding(6, 3), "ids": torch.arange(6)}
    net = Net(HOLES[name], a=nn.Linear(4, 6), norm=nn.BatchNorm1d(6, affine=False), **tables)
    assert status(graph_of(net, tokens()), "a.weight:0") == "blocked"


def test_a_copy_through_a_view_ties_the_reader_to_what_was_copied() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x)
        h.view(10, 6).copy_(n.c(x).view(10, 6))
        return n.b(h)

    graph = graph_of(pair(forward), tokens())
    # What is safe: c and b go together, or nothing goes.
    assert status(graph, "c.weight:0") == "blocked" or group_with(graph, "c.weight:0", "b.weight:1")


# -- writing in place -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda h: h[..., :3].zero_(),
        lambda h: h[..., :3].fill_(1.0),
        lambda h: h[..., :3].add_(1.0),
        lambda h: h[..., 3:].copy_(h[..., :3]),
        lambda h: h.__setitem__((slice(None), slice(None), slice(0, 2)), 0.0),
    ],
    ids=["zero", "fill", "add", "copy", "assignment"],
)
def test_writing_into_a_part_blocks(write: Callable[[Tensor], Any]) -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x)
        write(h)
        return n.b(h)

    graph = graph_of(Net(forward, **layers()), tokens())
    assert status(graph, "a.weight:0") == status(graph, "b.weight:1") == "blocked"
    assert "writing into a part of a tensor (" in str(graph.explain("a.weight", 0))


def test_writing_that_leaves_the_meaning_alone_is_allowed() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x)
        h[:, 0].relu_()
        return n.b(h)

    assert status(graph_of(Net(forward, **layers()), tokens()), "a.weight:0") == "prunable"


# -- what is made of other operations ----------------------------------------------------------------------------

COMPOSITE: dict[str, Callable[[Tensor], Tensor]] = {
    "negative": lambda h: h.negative(),
    "absolute": lambda h: h.absolute(),
    "arctan": lambda h: h.arctan(),
    "float_power": lambda h: h.float_power(2).float(),
    "expit": lambda h: torch.special.expit(h),
    "hstack": lambda h: torch.hstack([h, h.relu()]),
    "ldexp": lambda h: h.ldexp(h.new_ones(())),
}


@pytest.mark.parametrize("name", COMPOSITE)
def test_operations_that_are_nothing_but_others_are_followed(name: str) -> None:
    graph = graph_of(Net(lambda n, x: n.b(COMPOSITE[name](n.a(x))), **layers()), tokens())
    assert held(group_with(graph, "a.weight:0", "b.weight:1"), "b.weight:1") == ONE
    assert graph.ledger.unruled == set()


COMPOSITE_PAIRS: dict[str, Callable[..., Any]] = {
    "tensordot": lambda n, x: torch.tensordot(n.a(x), n.c(x), dims=([2], [2])),
    "cosine": lambda n, x: F.cosine_similarity(n.a(x), n.c(x), dim=-1),
    "broadcast": lambda n, x: n.b(torch.broadcast_tensors(n.a(x), n.c(x))[0]),
}


@pytest.mark.parametrize("name", COMPOSITE_PAIRS)
def test_composite_operations_of_two_tensors_tie_them(name: str) -> None:
    graph = graph_of(pair(COMPOSITE_PAIRS[name]), tokens())
    assert len(group_with(graph, "a.weight:0", "c.weight:0")) == 6


# -- the table itself -------------------------------------------------------------------------------------------


def test_a_rule_that_labels_too_much_or_too_little_is_called_faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("relu") is not None
    net = Net(lambda n, x: n.b(n.a(x).relu()), **layers())
    monkeypatch.setitem(RULES, "relu", lambda call: call.give(call.out, call.labels(call["self"])[:-1]))
    with pytest.raises(FaultyRule, match=r"rule for 'relu': 2 labels for shape \(2, 5, 6\)"):
        nk.trace(net, tokens())
    monkeypatch.setitem(RULES, "relu", lambda call: call.give(call.out, call.labels(call["self"])[::-1]))
    with pytest.raises(FaultyRule, match="rule for 'relu': 6 atoms for a dimension of 2"):
        nk.trace(net, tokens())


def test_a_rule_that_fails_is_called_faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Any) -> None:
        raise ValueError("too many values to unpack")

    monkeypatch.setitem(RULES, "relu", broken)
    with pytest.raises(
        FaultyRule, match=r"rule for 'relu': it failed with ValueError: too many .* \(relu at test_rules"
    ):
        nk.trace(Net(lambda n, x: n.b(n.a(x).relu()), **layers()), tokens())
