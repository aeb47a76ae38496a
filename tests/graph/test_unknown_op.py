"""An operation without a rule fails closed, says where, and a registered rule opens it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import flex_attention as flex

import niwaki as nk
from niwaki.graph.rules import RULES
from tests.graph.nets import Net, graph_of, group_with, held, status, tokens


@torch.library.custom_op("niwaki_tests::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    return 2 * x


@mystery.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Dark(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return mystery(x)


def line_of(function: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return next(first + k for k, line in enumerate(lines) if text in line)


def net() -> Net:
    return Net(lambda n, x: n.b(n.dark(n.a(x))), a=nn.Linear(4, 6), dark=Dark(), b=nn.Linear(6, 3))


def test_an_unknown_op_blocks_both_sides_and_says_where_it_is() -> None:
    graph = graph_of(net(), tokens())
    assert status(graph, "a.weight:0") == status(graph, "b.weight:1") == "blocked"
    assert graph.ledger.unruled == {"niwaki_tests::mystery"}
    line = line_of(Dark.forward, "mystery(x)")
    where = f"(niwaki_tests::mystery at test_unknown_op.py:{line} in module 'dark')"
    for name, dim in (("a.weight", 0), ("b.weight", 1)):
        text = str(graph.explain(name, dim))
        assert f"the operation 'niwaki_tests::mystery' has no rule {where}." in text
        assert "Register a rule for it with nk.graph.rule(...)" in text


def test_nothing_to_prune_names_the_unknown_op() -> None:
    with pytest.raises(nk.errors.NothingToPrune, match=r"\(1\) the operation 'niwaki_tests::mystery' has no rule"):
        nk.trace(net(), tokens())


def test_a_registered_rule_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RULES, "niwaki_tests::mystery", raising=False)

    @nk.graph.rule("niwaki_tests::mystery")
    def elementwise(call: nk.graph.Call) -> None:
        call.like(call["x"])

    try:
        graph = nk.trace(net(), tokens())
        group = group_with(graph, "a.weight:0", "b.weight:1")
        assert held(group, "b.weight:1") == [[i] for i in range(6)]
        assert graph.ledger.unruled == set()
    finally:
        del RULES["niwaki_tests::mystery"]
    assert status(graph_of(net(), tokens()), "a.weight:0") == "blocked"


def test_other_layers_stay_open_beside_an_unknown_op() -> None:
    beside = Net(
        lambda n, x: n.b(n.dark(n.a(x))) + n.d(n.c(x)),
        a=nn.Linear(4, 6),
        dark=Dark(),
        b=nn.Linear(6, 3),
        c=nn.Linear(4, 5),
        d=nn.Linear(5, 3),
    )
    graph = nk.trace(beside, tokens())
    assert [g.name for g in graph.groups] == ["c"]


@pytest.mark.skipif(
    not hasattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"), reason="this torch always compiles flex attention"
)
def test_an_operator_that_takes_functions_is_unknown_and_no_more_than_that() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in n.qkv(x).chunk(3, -1))
        return n.b(n.a(n.out(flex.flex_attention(q, k, v).transpose(1, 2).flatten(2))).relu())

    model = Net(forward, qkv=nn.Linear(4, 24), out=nn.Linear(8, 6), a=nn.Linear(6, 5), b=nn.Linear(5, 3))
    graph = nk.trace(model, torch.ones(1, 128, 4))
    assert [g.name for g in graph.groups] == ["out", "a"]
    assert graph.ledger.unruled == {"higher_order::flex_attention"}
    assert "'higher_order::flex_attention' has no rule" in str(graph.explain("qkv.weight", 0))
