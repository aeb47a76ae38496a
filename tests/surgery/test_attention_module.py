"""nn.MultiheadAttention and the transformer layers after a cut: same answers, same names, no fused kernel misled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import CannotFollow
from niwaki.graph import Graph
from niwaki.surgery.modules import readable
from niwaki.surgery.modules.attention import CutMultiheadAttention
from niwaki.testing import laws
from niwaki.testing.zoo.nursery import planted
from niwaki.units import Axis, Choice, Plan

HEADS, WIDTH = 4, 24


class Beside(nn.Module):
    """Attention between two linear layers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.enter = nn.Linear(6, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **settings)
        self.leave = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor, **more: Any) -> Any:
        x = self.enter(x)
        found, told = self.attention(x, x, x, **more)
        return self.leave(x + found), told


class Stack(nn.Module):
    """An encoder between two linear layers."""

    def __init__(self, norm_first: bool = False, activation: str = "relu", nested: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(
            16, 4, 24, activation=activation, batch_first=True, norm_first=norm_first, bias=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.leave(self.encoder(self.enter(x), src_key_padding_mask=padding))


def traced(model: nn.Module, *inputs: Tensor) -> Graph:
    with readable(model):
        return nk.trace(model, inputs)


def pruned(model: nn.Module, inputs: tuple[Tensor, ...], kind: str, share: float = 0.5) -> tuple[Any, Plan]:
    graph = traced(model, *inputs)
    groups = [g for g in graph.groups if kind in (g.kind, "all")]
    assert groups, [str(g) for g in graph.groups]
    plan = nk.plan(graph, nk.scores.Random(1), nk.Ratio(share), groups)
    return nk.cut(model, plan), plan


def without_heads(layer: nn.MultiheadAttention, *gone: int) -> Any:
    """A copy of the layer without some heads, by a plan written by hand."""
    shapes = {name: tuple(t.shape) for name, t in layer.named_parameters()}
    inside = WIDTH // HEADS
    rows = tuple(third * WIDTH + h * inside + j for third in range(3) for h in gone for j in range(inside))
    once = tuple(r for r in rows if r < WIDTH)
    removed = {Axis("in_proj_weight", 0): rows, Axis("in_proj_bias", 0): rows, Axis("out_proj.weight", 1): once}
    if "in_proj_weight" not in shapes:
        del removed[Axis("in_proj_weight", 0)]
        removed |= {Axis(f"{x}_proj_weight", 0): once for x in "qkv"}
    removed = {axis: gone for axis, gone in removed.items() if axis.name in shapes}
    return nk.cut(layer, Plan(shapes, removed, {"heads": Choice("head", HEADS, gone)}))


def silenced(layer: nn.MultiheadAttention, *gone: int) -> Any:
    """A copy of the layer whose heads say nothing."""
    twin: Any = copy.deepcopy(layer)
    inside = WIDTH // HEADS
    with torch.no_grad():
        for h in gone:
            twin.out_proj.weight[:, h * inside : (h + 1) * inside] = 0
    return twin


@contextmanager
def fast_path(on: bool) -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(on)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def layer(**settings: Any) -> nn.MultiheadAttention:
    made: Any = planted(lambda: nn.MultiheadAttention(WIDTH, HEADS, **settings))()
    return made


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


MASKS = {
    "none": {},
    "padding": {"key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3]])},
    "mask": {"attn_mask": torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)},
    "floats": {"attn_mask": draw(5, 5)},
    "causal": {"attn_mask": torch.triu(torch.full((5, 5), -torch.inf), 1), "is_causal": True},
    "both": {
        "attn_mask": torch.triu(torch.ones(5, 5, dtype=torch.bool), 1),
        "key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3]]),
    },
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(("told", "averaged"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("settings", [{}, {"batch_first": True}, {"bias": False}, {"kdim": 10, "vdim": 12}], ids=str)
def test_the_readable_forward_answers_as_the_stock_one_does(
    name: str, told: bool, averaged: bool, settings: dict[str, Any]
) -> None:
    attention = layer(**settings)
    query = draw(2, 5, WIDTH) if attention.batch_first else draw(5, 2, WIDTH)
    key, value = (draw(5, 2, 10), draw(5, 2, 12)) if "kdim" in settings else (query, query)
    options = {**MASKS[name], "need_weights": told, "average_attn_weights": averaged}
    expected = attention(query, key, value, **options)
    with readable(attention):
        assert type(attention) is CutMultiheadAttention
        found = attention(query, key, value, **options)
    assert type(attention) is nn.MultiheadAttention
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("told", [False, True])
def test_the_readable_forward_takes_one_sequence_and_masks_of_every_head(told: bool) -> None:
    attention, query = layer(), draw(5, WIDTH)
    padding = torch.zeros(5).masked_fill(torch.arange(5) > 3, -torch.inf)
    options: dict[str, Any] = {"need_weights": told, "attn_mask": draw(HEADS, 5, 5), "key_padding_mask": padding}
    expected = attention(query, query, query, **options)
    with readable(attention):
        torch.testing.assert_close(attention(query, query, query, **options), expected)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"kdim": 10, "vdim": 12}], ids=str)
def test_a_layer_without_two_heads_answers_as_if_they_said_nothing(told: bool, settings: dict[str, Any]) -> None:
    attention = layer(**settings)
    query = draw(5, 2, WIDTH)
    key, value = (draw(7, 2, 10), draw(7, 2, 12)) if "kdim" in settings else (query, query)
    small = without_heads(attention, 0, 2)
    assert (small.num_heads, small.head_dim, small.embed_dim) == (2, 6, WIDTH)
    assert list(small.state_dict()) == list(attention.state_dict())
    assert small.out_proj.in_features == 12
    expected, weights = silenced(attention, 0, 2)(query, key, value, need_weights=told, average_attn_weights=False)
    found, fewer = small(query, key, value, need_weights=told, average_attn_weights=False)
    torch.testing.assert_close(found, expected)
    if told:
        torch.testing.assert_close(fewer, weights[:, [1, 3]])
        mean = small(query, key, value)[1]
        torch.testing.assert_close(mean, weights[:, [1, 3]].mean(1))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])  # noqa: S301
def test_a_cut_layer_is_copied_and_trained_like_any_other(again: Any) -> None:
    small = without_heads(layer(batch_first=True), 1)
    query = draw(2, 5, WIDTH)
    twin = again(small)
    torch.testing.assert_close(twin(query, query, query), small(query, query, query))
    twin.train()(query, query, query)[0].sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in twin.parameters())


def test_a_cut_layer_compiles_in_one_piece() -> None:
    small, query = without_heads(layer(batch_first=True), 1), draw(2, 5, WIDTH)
    compiled = torch.compile(small, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(query, query, query), small(query, query, query))


def test_a_cut_layer_refuses_what_was_made_for_the_heads_that_were() -> None:
    small, query = without_heads(layer(), 1), draw(5, 2, WIDTH)
    with pytest.raises(ValueError, match="is for 4 heads, and 3 are left"):
        small(query, query, query, attn_mask=torch.zeros(2 * HEADS, 5, 5))
    with pytest.raises(ValueError, match="is a hint about attn_mask"):
        small(query, query, query, is_causal=True)
    nested = torch.nested.nested_tensor([draw(3, WIDTH), draw(4, WIDTH)], layout=torch.jagged)
    with pytest.raises(ValueError, match="does not take nested tensors"):
        small(nested, nested, nested)


@pytest.mark.parametrize("settings", [{"add_bias_kv": True}, {"add_zero_attn": True}], ids=str)
def test_extra_keys_and_values_are_refused_and_not_made_readable(settings: dict[str, Any]) -> None:
    attention = layer(**settings)
    with readable(attention):
        assert type(attention) is nn.MultiheadAttention
    with pytest.raises(CannotFollow, match="add_bias_kv or add_zero_attn"):
        without_heads(attention, 1)


def test_a_forward_pass_of_the_users_own_is_refused() -> None:
    class Mine(nn.MultiheadAttention):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    with pytest.raises(CannotFollow, match="Mine has a forward pass of its own"):
        without_heads(Mine(WIDTH, HEADS), 1)


class Named(nn.MultiheadAttention):
    """A class of the user's own, with torch's forward pass."""

    def said(self) -> str:
        return f"{self.num_heads} heads"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])  # noqa: S301
def test_a_class_that_leaves_the_forward_pass_alone_is_cut_as_the_stock_one(again: Any) -> None:
    model = planted(Beside)()
    stock: Any = copy.deepcopy(model.attention)
    model.attention.__class__ = Named
    small, _ = pruned(model, (draw(2, 5, 6),), "head")
    assert type(model.attention) is Named
    assert isinstance(small.attention, (Named, CutMultiheadAttention))
    assert small.attention.said() == "2 heads"
    query = draw(2, 5, WIDTH)
    named = without_heads(model.attention, 1)
    torch.testing.assert_close(named(query, query, query), without_heads(stock, 1)(query, query, query))
    twin = again(named)
    assert type(twin) is type(named)
    torch.testing.assert_close(twin(query, query, query), named(query, query, query))


@pytest.mark.parametrize("kind", ["head", "head_dim", "all"])
def test_the_scale_stays_that_of_the_uncut_heads(kind: str) -> None:
    model = planted(Beside)()
    small, _ = pruned(model, (draw(2, 5, 6),), kind, 0.25)
    assert small.attention.scale == 6**-0.5
    assert small.attention.head_dim * small.attention.num_heads == small.attention.out_proj.in_features
    again, _ = pruned(small, (draw(2, 5, 6),), kind, 0.25)
    assert again.attention.scale == 6**-0.5


def test_the_width_follows_the_features_that_come_in() -> None:
    small, _ = pruned(planted(Beside)(), (draw(2, 5, 6),), "all")
    width = small.enter.out_features
    assert WIDTH // 2 <= width < WIDTH
    assert (small.attention.embed_dim, small.attention.kdim, small.attention.vdim) == (width, width, width)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("norm_first", "activation"), list(product((False, True), ("relu", "gelu"))))
@pytest.mark.parametrize("kind", ["neuron", "head", "head_dim", "all"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_fused_encoder_is_not_misled(norm_first: bool, activation: str, kind: str, padded: bool) -> None:
    model = planted(Stack, norm_first, activation, not norm_first)()
    padding = torch.arange(5) >= torch.tensor([[5], [3]])
    inputs = (draw(2, 5, 6), padding) if padded else (draw(2, 5, 6),)
    small, plan = pruned(model, inputs, kind)
    with fast_path(False):
        slow = small(*inputs)
        expected = nk.mask(model, plan)(*inputs) if kind != "all" else slow
    with fast_path(True):
        found = small(*inputs)
    seen = ~padding if padded else torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(found[seen], slow[seen], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slow[seen], expected[seen], rtol=1e-4, atol=1e-5)


def test_nested_tensors_are_for_encoders_with_all_of_their_heads() -> None:
    model = planted(Stack, False, "relu", True)()
    graph = traced(model, draw(2, 5, 6))
    last = [g for g in graph.groups if g.kind == "head"][-1]
    small: Any = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=[last]))
    assert type(small.encoder.layers[0].self_attn) is nn.MultiheadAttention
    assert type(small.encoder.layers[1].self_attn) is CutMultiheadAttention
    assert model.encoder.use_nested_tensor
    assert not small.encoder.use_nested_tensor


@pytest.mark.parametrize("told", [False, True])
def test_the_laws_hold_where_the_weights_are_dropped(told: bool) -> None:
    class Dropping(Beside):
        def forward(self, x: Tensor, **more: Any) -> Any:
            return super().forward(x, need_weights=told)[0]

    model, inputs = planted(Dropping)(), (draw(2, 5, 6),)
    graph = traced(model, *inputs)
    assert {g.kind for g in graph.groups} >= {"head"}
    with readable(model):
        laws.cut_equals_masked(model, inputs, graph=graph)
        laws.dead_units_are_free(model, inputs, graph=graph)
        laws.model_is_untouched(model, inputs)


def test_weights_of_every_head_that_are_returned_keep_their_heads() -> None:
    model = planted(Beside)()
    with readable(model):
        graph = nk.trace(model, {"x": draw(2, 5, 6), "average_attn_weights": False})
    assert "head" not in {g.kind for g in graph.groups}
