"""Whole numbers beside the tensors: those that a reshape asks for follow a cut, those that mean something else stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import IllegalPlan, NothingToPrune
from niwaki.graph import numbers as binding
from niwaki.surgery import weightless
from niwaki.testing import laws
from niwaki.units import Plan

HEADS, INSIDE, WIDTH = 3, 4, 12
SIZES = {"num_heads": HEADS, "head_dim": INSIDE, "hidden_size": WIDTH}


class Config(SimpleNamespace):
    """The least that is taken for a config."""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class Attention(nn.Module):
    """Three heads of four, cut up and put together by the numbers of ``holder``."""

    def __init__(self, config: Config | None = None, **more: Any) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = *(nn.Linear(8, WIDTH) for _ in range(3)), nn.Linear(WIDTH, 8)
        if config is None:
            vars(self).update(SIZES)
        else:
            self.config = config
        vars(self).update(more)

    @property
    def holder(self) -> Any:
        return vars(self).get("config", self)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.holder.num_heads, self.holder.head_dim).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.heads(make(x)) for make in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2)
        return self.o(y.reshape(*x.shape[:2], self.holder.hidden_size))


def inputs() -> Tensor:
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def built(make: Callable[[], nn.Module] = Attention) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def plan_of_kind(graph: nk.Graph, *kinds: str, ratio: float = 0.4) -> Plan:
    return nk.plan(graph, nk.scores.Random(1), nk.Ratio(ratio), [g for g in graph.groups if g.kind in kinds])


AFTER = {
    ("head",): {"num_heads": (3, 1), "hidden_size": (12, 4)},
    ("head_dim",): {"head_dim": (4, 2), "hidden_size": (12, 6)},
    ("head", "head_dim"): {"num_heads": (3, 1), "head_dim": (4, 2), "hidden_size": (12, 2)},
}
"""Of half of everything: one of three heads, two of four inside them, and what is left of their product."""


@pytest.mark.parametrize("kinds", AFTER, ids="+".join)
def test_own_numbers_follow_and_the_dense_model_keeps_its_own(kinds: tuple[str, ...]) -> None:
    model = built()
    graph = nk.trace(model, inputs())
    plan = plan_of_kind(graph, *kinds, ratio=0.5)
    assert plan.numbers == {("", name): values for name, values in AFTER[kinds].items()}
    small = nk.cut(model, plan)
    for name, dense in SIZES.items():
        assert getattr(small, name) == AFTER[kinds].get(name, (dense, dense))[1]
        assert getattr(model, name) == dense
    assert small(inputs()).shape == model(inputs()).shape


@pytest.mark.parametrize("kinds", AFTER, ids="+".join)
def test_the_numbers_of_a_config_follow_on_a_copy_of_it(kinds: tuple[str, ...]) -> None:
    config = Config(**SIZES)
    model = built(lambda: Attention(config))
    plan = plan_of_kind(nk.trace(model, inputs()), *kinds, ratio=0.5)
    assert plan.numbers == {("", f"config.{name}"): values for name, values in AFTER[kinds].items()}
    small = nk.cut(model, plan)
    assert vars(small.config) == SIZES | {name: after for name, (_, after) in AFTER[kinds].items()}
    assert vars(config) == SIZES
    assert model.config is config


def test_layers_of_one_config_may_be_cut_differently() -> None:
    config = Config(**SIZES)
    model = built(lambda: nn.Sequential(Attention(config), Attention(config)))
    graph = nk.trace(model, inputs())
    plan = nk.plan(graph, nk.scores.Random(1), nk.Ratio(0.5), [g for g in graph.groups if g.name.startswith("1.q")])
    assert {module for module, _ in plan.numbers} == {"1"}
    small = nk.cut(model, plan)
    assert small[0].config.hidden_size == WIDTH
    assert small[1].config.hidden_size == 2


@pytest.mark.parametrize("make", [Attention, lambda: Attention(Config(**SIZES))], ids=["own", "config"])
def test_cut_equals_masked_where_numbers_follow(make: Callable[[], nn.Module]) -> None:
    model = built(make)
    laws.cut_equals_masked(model, inputs())
    assert laws.model_is_untouched(model, inputs()) is None


MEANT = {"dropout_p": 12, "max_length": 12, "num_layers": 12, "pad_token_id": 3, "kernel_size": 4, "p": 12, "seed": 3}
"""Numbers with the values of the sizes, and with names that say something else."""


@pytest.mark.parametrize("place", ["own", "config"])
def test_numbers_that_say_something_else_stay(place: str) -> None:
    if place == "own":
        model = built(lambda: Attention(**MEANT, ratio=0.5, widths=[12, 4], name="12", flag=True))
    else:
        model = built(lambda: Attention(Config(**SIZES, **MEANT, hidden_dropout=0.5)))
    small = nk.cut(model, plan_of_kind(nk.trace(model, inputs()), "head", "head_dim"))
    before, after = vars(model.holder), vars(small.holder)
    for name in before.keys() - SIZES.keys():
        if not name.startswith("_"):
            assert after[name] == before[name], name
            assert type(after[name]) is type(before[name]), name
    assert after["hidden_size"] < before["hidden_size"]


class Elsewhere(nn.Module):
    """A width of six that is used as a number of steps, and a batch of windows of as many."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)
        self.size = self.hidden_units = 6

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x.view(-1, self.size, 4))
        return self.b(h).view(x.shape[0], -1) / self.size


def test_an_equal_number_of_another_dimension_stays() -> None:
    """Six tokens, and six units: the view that asks for six tokens by number still gets six after the cut."""
    model, x = built(Elsewhere), torch.randn(2, 6, 4)
    graph = nk.trace(model, x)
    plan = nk.plan(graph, target=nk.Ratio(0.5))
    assert nk.cut(model, plan).size == 6
    laws.cut_equals_masked(model, x, graph=graph)


class Counting(nn.Module):
    """A number that is a size and a factor at once."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.hidden_size = nn.Linear(4, 6), nn.Linear(6, 3), 6

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).view(x.shape[0], self.hidden_size)) / self.hidden_size


def test_a_number_that_is_also_computed_with_withdraws_the_group() -> None:
    with pytest.raises(NothingToPrune, match=r"computes with another number \([\d.]+\) \(div at test_numbers.py:\d+"):
        nk.trace(built(Counting), torch.randn(2, 4))


class Ambiguous(nn.Module):
    """One number for the lengths of two layers that nothing else ties."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(4, 6), nn.Linear(6, 3)
        self.num_heads, self.head_dim = 2, 3

    def forward(self, x: Tensor) -> Tensor:
        def parts(h: Tensor) -> Tensor:
            return h.view(x.shape[0], self.num_heads, self.head_dim).flatten(1)

        return self.b(parts(self.a(x))) + self.d(parts(self.c(x)))


def test_one_number_for_two_layers_keeps_them_equal() -> None:
    model, x = built(Ambiguous), torch.randn(2, 4)
    graph = nk.trace(model, x)
    for seed in range(4):
        plan = nk.plan(graph, nk.scores.Random(seed), nk.Ratio(0.4))
        small = nk.cut(model, plan)
        assert small.a.out_features == small.c.out_features == small.num_heads * small.head_dim
    laws.cut_equals_masked(model, x, graph=graph)


def test_a_choice_that_needs_two_values_of_one_number_is_illegal() -> None:
    """Removing units of one layer alone would make the number two numbers."""
    model = built(Ambiguous)
    graph = nk.trace(model, torch.randn(2, 4), prove=False)
    illegal = 0
    for group in graph.groups:
        for unit in range(len(group)):
            try:
                graph.numbers({group.name: (unit,)})
                group.check(np.array([unit]))
            except IllegalPlan:
                illegal += 1
    assert illegal
    plan = nk.plan(graph, target=nk.Ratio(0.4))
    assert all(after < before for before, after in plan.numbers.values())


# -- the laws see it if a number is forgotten ------------------------------------------------------------------------


def test_without_numbers_nothing_of_the_attention_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("niwaki.graph.observe.bind", lambda model, ledger: iter(()))
    with pytest.raises(NothingToPrune, match=r"shape '\[2, 5, 3, 4\]' is invalid for input of size \d+"):
        nk.trace(built(), inputs())


def test_a_number_that_is_not_set_fails_the_cut_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built()
    graph = nk.trace(model, inputs())
    monkeypatch.setattr("niwaki.surgery.cut.set_numbers", lambda model, numbers: None)
    with pytest.raises(laws.LawBroken, match=r"shape '\[2, 5, 3, 4\]' is invalid"):
        laws.cut_equals_masked(model, inputs(), graph=graph)


def test_the_wrong_number_is_withdrawn_by_the_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of equal value that says "count" taken for a width: found by the proof, not by luck."""
    monkeypatch.setattr(binding, "_sense", lambda name: "width" if name == "num_heads" else None)
    with pytest.raises(NothingToPrune, match="is invalid for input of size"):
        nk.trace(built(), inputs())


@pytest.mark.parametrize(
    ("name", "sense"),
    [
        ("num_heads", "count"),
        ("n_head", "count"),
        ("num_key_value_heads", "count"),
        ("groups", "count"),
        ("num_key_value_groups", "copies"),
        ("n_rep", "copies"),
        ("head_dim", "inside"),
        ("attention_head_size", "inside"),
        ("d_k", "inside"),
        ("hidden_size", "width"),
        ("embed_dim", "width"),
        ("d_model", "width"),
        ("num_layers", None),
        ("kernel_size", None),
        ("vocab_size", None),
        ("max_position_embeddings", None),
        ("patch_size", None),
        ("padding_idx", None),
        ("batch_size", None),
        ("p", None),
    ],
)
def test_what_a_name_promises(name: str, sense: str | None) -> None:
    assert binding._sense(name) == sense


def test_the_plan_carries_the_numbers_to_a_fresh_model() -> None:
    model = built()
    plan = plan_of_kind(nk.trace(model, inputs()), "head", "head_dim")
    again = Plan.from_json(copy.deepcopy(plan.to_json()))
    assert again.numbers == plan.numbers != {}
    small, other = nk.cut(model, plan), nk.cut(built(), again)
    assert torch.equal(small(inputs()), other(inputs()))


def test_the_dry_run_sets_numbers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them the proof itself would fail on the view."""
    monkeypatch.setattr(weightless, "set_numbers", lambda model, numbers: None)
    with pytest.raises(NothingToPrune, match=r"shape '\[2, 5, 3, 4\]' is invalid"):
        nk.trace(built(), inputs())
