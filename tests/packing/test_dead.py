"""Dead units: which go, what becomes of their constants, and which stay for good reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.packing import Packing, Removed, removal, search
from niwaki.packing import constants as seen
from niwaki.surgery.cut import plan_of
from tests.packing.models import made, masked
from tests.packing.test_pack import far


def chain(act: type[nn.Module] = nn.GELU, *, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """6 → 8 → 5 with random numbers everywhere."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 8), act(), nn.Linear(8, 5, bias=bias)).eval()
    for p in net.parameters():
        nn.init.normal_(p)
    return net


def rows(count: int = 9, width: int = 6, seed: int = 1) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def packed_of(model: nn.Module, inputs: Any) -> tuple[nn.Module, Packing]:
    packed = nk.pack(model, inputs, forms={})
    packing = nk.packing_of(packed)
    assert packing is not None
    return packed, packing


# -- one neuron at a time ----------------------------------------------------------------------------------------------


def test_what_nobody_reads_goes() -> None:
    net = chain()
    net[2].weight.data[:, [1, 4]] = 0
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("0", "neuron", 8, unread=2),)
    assert packed[0].weight.shape == (6, 6)
    assert torch.equal(packed[0].weight, net[0].weight[[0, 2, 3, 5, 6, 7]])
    assert torch.equal(packed[2].bias, net[2].bias)
    assert far(net, packed, rows(4, seed=2)) < 1e-6


def test_what_is_silent_goes() -> None:
    net = chain()
    net[0].weight.data[[1, 4]] = 0
    net[0].bias.data[[1, 4]] = 0
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("0", "neuron", 8, silent=2),)
    assert torch.equal(packed[2].bias, net[2].bias)
    assert far(net, packed, rows(4, seed=2)) < 1e-6


@pytest.mark.parametrize("act", [nn.GELU, nn.ReLU, nn.Tanh, nn.SiLU])
def test_a_constant_goes_into_the_bias_behind_it(act: type[nn.Module]) -> None:
    """``b' = b + W[:, dead] act(b_dead)``, worked out by hand in float64."""
    net = chain(act)
    net[0].weight.data[[1, 4]] = 0
    net[0].bias.data[[1, 4]] = torch.tensor([0.7, -0.3]) if act is not nn.ReLU else torch.tensor([0.7, 0.3])
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("0", "neuron", 8, constant=2),)
    given = act()(net[0].bias[[1, 4]].double())
    by_hand = net[2].bias.double() + net[2].weight[:, [1, 4]].double() @ given
    assert torch.allclose(packed[2].bias.double(), by_hand, atol=1e-6)
    assert far(net, packed, rows(4, seed=2)) < 1e-6


def test_the_three_kinds_are_told_apart() -> None:
    net = chain()
    net[2].weight.data[:, 0] = 0
    net[0].weight.data[[2, 3]] = 0
    net[0].bias.data[2] = 0
    _, packing = packed_of(net, rows())
    assert packing.removed == (Removed("0", "neuron", 8, unread=1, silent=1, constant=1),)
    assert str(packing.removed[0]) == "0: 3 of 8 × neuron (1 unread, 1 silent, 1 constant)"


def test_a_neuron_that_merely_did_not_speak_stays() -> None:
    """Behind ReLU, below zero on all of these inputs; another input wakes it up. One of its weights is zero."""
    net = chain(nn.ReLU)
    net[0].bias.data[3] = -50.0
    net[0].weight.data[3] = torch.tensor([0.0, 1, 1, 1, 1, 1])
    x = rows()
    assert (net[1](net[0](x))[:, 3] == 0).all()
    packed, packing = packed_of(net, x)
    assert packing.removed == ()
    assert far(net, packed, 100 * rows().abs()) < 1e-6


def test_nor_is_a_sum_dead_of_which_one_part_is_zero() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.a(x) + self.b(x)))

    torch.manual_seed(0)
    net = Sum()
    with torch.no_grad():
        net.a.weight[:6] = 0
        net.a.bias[:6] = 0
        net.b.weight.abs_()
        net.b.bias[:5] = -50.0  # silent on these inputs, and in half of the cases only one sign wakes it up
    packed, packing = packed_of(net, rows().abs())
    assert (packing.removed, packing.left) == ((), ())
    assert far(net, packed, 100 * rows()) < 1e-6


class OfTwo(nn.Module):
    """``fc(relu(A x + B c))``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(4, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.out(F.relu(self.a(x) + self.b(c)))


@pytest.mark.parametrize("bias", [0.5, 0.0])
def test_what_was_given_zeros_was_not_heard(bias: float) -> None:
    """Row 3 of A is zero, that of B is not, and c is zero in the example: the unit looks constant, and is not. Unit 5
    is zero in both, and is."""
    torch.manual_seed(0)
    net = OfTwo().eval()
    with torch.no_grad():
        net.a.weight[[3, 5]], net.b.weight[5] = 0.0, 0.0
        net.a.bias[[3, 5]] = bias
    x, c = rows(), torch.zeros(9, 4)
    packed, packing = packed_of(net, (x, c))
    assert sum(each.count for each in packing.removed) == 1
    assert packed.out.in_features == 7
    assert far(net, packed, (x, rows(9, 4, seed=3))) < 1e-6


def test_nor_was_a_column_that_was_given_zeros() -> None:
    """Row 3 of B has one entry, and the example never that feature of c."""
    torch.manual_seed(0)
    net, c = OfTwo().eval(), rows(9, 4, seed=3)
    with torch.no_grad():
        net.a.weight[3] = 0.0
        net.b.weight[3, :3] = 0.0
    packed, packing = packed_of(net, (rows(), c * torch.tensor([1.0, 1, 1, 0])))
    assert packing.removed == ()
    assert far(net, packed, (rows(), c)) < 1e-6


def test_one_step_from_a_state_of_zeros_says_nothing_of_the_next() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0])

    torch.manual_seed(0)
    net = Words().eval()
    with torch.no_grad():
        for gate in range(4):
            for p in (net.rnn.weight_ih_l0, net.rnn.bias_ih_l0, net.rnn.bias_hh_l0):
                p[8 * gate + 3] = 0.0
    packed, packing = packed_of(net, rows()[:, None])
    assert packing.removed == ()
    assert far(net, packed, rows(9 * 4).reshape(9, 4, 6)) < 1e-6


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_key_without_its_query_is_silent(tokens: int) -> None:
    """Also where there is one key, which cannot differ from others: blown up it moves."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 8, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return (self.q(x) @ self.k(x).transpose(-1, -2)).softmax(-1) @ self.v(x)

    torch.manual_seed(0)
    net = Attention().eval()
    net.q.weight.data[2] = 0
    packed, packing = packed_of(net, rows(tokens)[None])
    assert [(each.silent, each.count) for each in packing.removed] == [(1, 1)]
    assert far(net, packed, rows(5, seed=3)[None]) < 1e-6


def test_a_gate_that_is_shut_silences_its_neuron() -> None:
    """``down(silu(gate x) * up x)``: where up is zero, so is the product, whatever the gate holds."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.down = (nn.Linear(a, b, bias=False) for a, b in ((6, 8), (6, 8), (8, 3)))

        def forward(self, x: Tensor) -> Tensor:
            return self.down(F.silu(self.gate(x)) * self.up(x))

    torch.manual_seed(0)
    net = Gated()
    net.up.weight.data[:2] = 0
    net.gate.weight.data[5] = 0
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("gate", "neuron", 8, silent=3),)
    assert far(net, packed, rows(3, seed=4)) < 1e-6


def test_what_only_dead_units_read_goes_in_the_next_round() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 7), nn.GELU(), nn.Linear(7, 3))
    net[4].weight.data[:, :2] = 0
    net[2].weight.data[2:, 5] = 0  # neuron 5 of the first layer is read by the first two of the second alone
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("2", "neuron", 7, unread=2), Removed("0", "neuron", 8, unread=1))
    assert (packed[0].out_features, packed[2].out_features) == (7, 5)
    assert plan_of(packed).shape("2.weight") == (5, 7)


# -- what stays --------------------------------------------------------------------------------------------------------


def test_a_constant_stays_where_no_bias_can_take_it() -> None:
    net = chain(bias=False)
    net[0].weight.data[1] = 0
    _, packing = packed_of(net, rows())
    assert packing.removed == ()
    assert [(x.count, x.reason) for x in packing.left] == [
        (1, "they give a constant, and '2', which reads it, has no bias to hold it")
    ]


def test_a_constant_stays_in_half_precision() -> None:
    net = chain().bfloat16()
    net[0].weight.data[1] = 0
    net[2].weight.data[:, 2] = 0
    packed, packing = packed_of(net, rows().bfloat16())
    assert packing.removed == (Removed("0", "neuron", 8, unread=1),)
    assert packing.left[0].reason.endswith(
        "which a bias in torch.bfloat16 would round; pack in float32 and convert then"
    )
    assert far(net.float(), packed.float(), rows()) < 1e-5


def test_a_constant_stays_before_a_convolution_which_pads_with_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1)).eval()
    net[0].weight.data[:2] = 0
    net[0].bias.data[:2] = torch.tensor([0.5, 0.0])
    x = torch.randn(2, 3, 6, 6)
    packed, packing = packed_of(net, x)
    assert packing.removed == (Removed("0", "channel", 6, silent=1),)
    assert packing.left[0].reason == "they give a constant, and '2', which reads it, is no linear layer"
    assert far(net, packed, x) < 1e-6


def test_channels_behind_a_batch_norm_go_into_the_bias_of_a_linear_head() -> None:
    """Filters of zeros: the norm makes a constant of them, which every pixel of the flattened map has."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4)).eval()
    net[0].weight.data[[0, 3]] = 0
    net[1].bias.data.fill_(0.25)
    net[1].running_mean.data.fill_(-0.5)
    x = torch.randn(2, 3, 6, 6)
    packed, packing = packed_of(net, x)
    assert packing.removed == (Removed("0", "channel", 6, constant=2),)
    assert packed[4].in_features == 4 * 16
    assert far(net, packed, torch.randn(5, 3, 6, 6)) < 1e-5


def test_scales_of_zero_in_a_norm_make_a_channel_constant() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1)).eval()
    net[1].weight.data[[1, 2]] = 0
    net[1].bias.data.fill_(0.0)
    packed, packing = packed_of(net, torch.randn(2, 3, 6, 6))
    assert packing.removed == (Removed("0", "channel", 6, silent=2),)
    assert packed[0].out_channels == 4


def test_units_under_a_norm_stay() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)).eval()
    net[2].weight.data[:, 2:4] = 0
    packed, packing = packed_of(net, rows())
    assert packing.removed == ()
    assert (packing.left[0].count, packing.left[0].reason) == (
        2,
        "a norm or an average runs over these units, and dividing by fewer would change the others",
    )
    assert far(net, packed, rows()) < 1e-6


def test_one_unit_stays_where_all_are_dead() -> None:
    net = chain()
    net[2].weight.data.zero_()
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("0", "neuron", 8, unread=7),)
    assert packed[0].out_features == 1
    assert far(net, packed, rows()) < 1e-6


def test_heads_lose_dimensions_only_all_together() -> None:
    """A value dimension and a query-key pair must go from every head; the last head has none to give at first."""
    pytest.importorskip("transformers")
    model, inputs, others = made("bert")
    attention = model.encoder.layer[0].attention
    for head in range(4):
        for layer, at in ((attention.self.query, 1), (attention.self.value, 2)):
            if head < 3:
                layer.weight.data[4 * head + at] = 0
                layer.bias.data[4 * head + at] = 0
    _, packing = packed_of(model, inputs)
    assert packing.removed == ()
    assert "equally much must go from each of 8 parts" in packing.left[0].reason
    for layer, at in ((attention.self.key, 3), (attention.self.value, 0)):
        layer.weight.data[12 + at] = 0
        layer.bias.data[12 + at] = 0
    packed, packing = packed_of(model, inputs)
    assert [(r.kind, r.count) for r in packing.removed] == [("head_dim", 8)]
    assert packed.encoder.layer[0].attention.self.query.out_features == 12
    assert far(model, packed, others) < 1e-5


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit"])
def test_a_head_of_constant_values_goes_into_the_bias(name: str) -> None:
    """Its value rows are zero and its value biases are not: attention averages a constant."""
    pytest.importorskip("transformers")
    model, inputs, others = made(name)
    with torch.no_grad():
        if name == "gpt2":
            model.transformer.h[0].attn.c_attn.weight[:, 32:40] = 0
        else:
            value = (
                model.encoder.layer[0].attention.self.value if name == "bert" else model.vit.layers[0].attention.v_proj
            )
            value.weight[:8] = 0
    packed, packing = packed_of(model, inputs)
    assert [(r.kind, r.constant) for r in packing.removed] == [("head", 2)]
    assert far(model, packed, inputs) < 1e-5
    assert far(model, packed, others) < 1e-5


def test_groups_on_the_same_tensors_go_one_after_the_other() -> None:
    """A head of constant values, and a dimension that is dead in every head: a constant is folded once."""
    pytest.importorskip("transformers")
    model, inputs, others = made("bert")
    attention = model.encoder.layer[0].attention.self
    with torch.no_grad():
        attention.value.weight[:4] = 0
        for layer in (attention.query, attention.value):
            layer.weight[1::4] = 0
            layer.bias[1::4] = 0
    packed, packing = packed_of(model, inputs)
    assert [(r.kind, r.count) for r in packing.removed] == [("head_dim", 8), ("head", 1)]
    assert packed.encoder.layer[0].attention.self.query.out_features == 9
    assert far(model, packed, others) < 1e-5


def test_a_key_value_group_that_nobody_reads_goes() -> None:
    pytest.importorskip("transformers")
    model, inputs, others = made("llama")
    model.model.layers[0].self_attn.o_proj.weight.data[:, 8:] = 0
    packed, packing = packed_of(model, inputs)
    assert [(r.kind, r.unread) for r in packing.removed] == [("kv_group", 1)]
    assert packed.model.layers[0].self_attn.k_proj.out_features == 4
    assert far(model, packed, others) < 1e-5


# -- the safety net ----------------------------------------------------------------------------------------------------


def test_the_masks_of_the_table_leave_the_answers_alone() -> None:
    model, inputs, others = masked("tied", "rows and columns")
    packed, packing = packed_of(model, inputs)
    assert sum(r.count for r in packing.removed) > 0
    assert far(model, packed, others) < 1e-5


def spoil_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants are a little off."""
    honest = seen._judge

    def off(*args: Any) -> Any:
        found = honest(*args)
        return replace(found, values={k: 1.01 * v for k, v in found.values.items()})

    monkeypatch.setattr(seen, "_judge", off)


def spoil_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units that live are taken for dead."""
    honest = removal.search

    def off(*args: Any) -> Any:
        found = honest(*args)
        for dead in found:
            object.__setattr__(dead, "unread", np.ones_like(dead.unread))
        return found

    monkeypatch.setattr(removal, "search", off)


@pytest.mark.parametrize("spoil", [spoil_constants, spoil_the_choice])
def test_what_would_change_the_answers_is_given_up(
    spoil: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two groups the one that is judged wrongly stays, and says so; with nothing judged wrongly both give."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 7), nn.GELU(), nn.Linear(7, 3))
    net[0].weight.data[:2] = 0
    assert [r.count for r in packed_of(net, rows())[1].removed] == [2]
    spoil(monkeypatch)
    packed, packing = packed_of(net, rows())
    assert packing.removed == ()
    assert packing.left[0].reason.startswith("without them the model answers otherwise (by ")
    assert far(net, packed, rows()) < 1e-6


def test_the_net_holds_also_where_no_input_shows_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neuron that did not speak on these inputs is taken for a dead one: it stays, since other numbers in it change
    the answers. The one beside it that nobody reads goes."""
    net = chain(nn.ReLU)
    net[0].bias.data[3] = -50.0
    net[2].weight.data[:, 5] = 0

    def wrong(graph: Any, model: Any, inputs: Any) -> list[Any]:
        if len(graph["0"]) < 8:  # in the next round
            return []
        unread, silent, none = (np.arange(8) == k for k in (5, 3, -1))
        return [search.Dead(graph["0"], unread, silent, none, none, "")]

    monkeypatch.setattr(removal, "search", wrong)
    packed, packing = packed_of(net, rows())
    assert packing.removed == (Removed("0", "neuron", 8, unread=1),)
    assert packing.left[0].count == 1
    assert packing.left[0].reason.startswith("without them the model answers otherwise (by ")
    assert far(net, packed, 100 * rows()) < 1e-6


def test_what_makes_a_unit_is_blown_up_and_what_reads_it_is_not() -> None:
    net = chain()
    graph = nk.trace(net, rows())
    up, down = (seen.shaken(graph, net, {"0": (2, 5)}, sign) for sign in (1.0, -1.0))
    ratio = up[0].weight[[2, 5]] / net[0].weight[[2, 5]]
    assert ((ratio.abs() >= 100) & (ratio.abs() <= 10_000)).all()
    assert torch.equal(up[0].weight[[2, 5]], -down[0].weight[[2, 5]])
    assert torch.equal(up[0].weight[[0, 1, 3, 4, 6, 7]], net[0].weight[[0, 1, 3, 4, 6, 7]])
    assert torch.equal(up[2].weight, net[2].weight)
    assert torch.equal(up[0].bias, net[0].bias)


def test_without_removal_all_units_stay() -> None:
    net = chain()
    net[2].weight.data[:, :4] = 0
    packed = nk.pack(net, rows(), forms="columns", remove=False)
    assert nk.packing_of(packed).removed == ()
    assert packed[0].out_features == 8
    assert plan_of(packed).removed == {}


def test_a_model_that_cannot_be_traced_is_packed_all_the_same() -> None:
    """Nothing to prune: one layer from input to output."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8))
    net[0].weight.data[4:] = 0
    packed = nk.pack(net, rows(), forms="rows")
    packing = nk.packing_of(packed)
    assert packing.note.startswith("No unit was removed: nothing in Sequential can be pruned.")
    assert packing.forms == {"0": "rows"}
    assert far(net, packed, rows()) < 1e-6
