"""Recurrent layers: what a state is, what its neighbours are, what stops it, and what a cut leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import niwaki as nk
from niwaki.testing import laws
from niwaki.testing.zoo.nursery import planted
from tests.graph.nets import Net, graph_of, group_with, held, status

LAYERS: dict[str, tuple[Callable[..., nn.Module], int]] = {
    "lstm": (nn.LSTM, 4),
    "gru": (nn.GRU, 3),
    "tanh": (nn.RNN, 1),
    "relu": (lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k), 1),
}
SENTENCE = torch.linspace(-1, 1, 2 * 5 * 4).reshape(2, 5, 4)


def reading(layer: nn.Module, forward: Callable[..., Any], width: int = 6) -> nn.Module:
    """A linear layer, the recurrent one (batch first, 5 in), and a linear layer of so many columns."""
    return planted(lambda: Net(forward, a=nn.Linear(4, 5), rnn=layer, b=nn.Linear(width, 3)))()


def outputs(n: Any, x: Tensor) -> Tensor:
    return n.b(n.rnn(n.a(x))[0])


def hold_the_laws(model: nn.Module, inputs: Any) -> nk.graph.Graph:
    graph = nk.trace(model, inputs)
    laws.cut_equals_masked(model, inputs, graph=graph)
    laws.dead_units_are_free(model, inputs, graph=graph)
    laws.blocked_are_untouched(graph)
    return graph


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_state_is_one_row_of_every_gate_and_one_column_of_the_recurrent_weight(kind: str, bias: bool) -> None:
    build, gates = LAYERS[kind]
    model = reading(build(5, 6, bias=bias, batch_first=True), outputs)
    graph = hold_the_laws(model, SENTENCE)
    states = group_with(graph, "rnn.weight_ih_l0:0", "rnn.weight_hh_l0:1")
    assert (len(states), states.kind) == (6, "state")
    rows = [[6 * gate + j for gate in range(gates)] for j in range(6)]
    vectors = ["rnn.bias_ih_l0:0", "rnn.bias_hh_l0:0"] if bias else []
    for name in ("rnn.weight_ih_l0:0", "rnn.weight_hh_l0:0", *vectors):
        assert held(states, name) == rows
    assert held(states, "b.weight:1") == [[j] for j in range(6)]
    assert held(group_with(graph, "a.weight:0"), "rnn.weight_ih_l0:1") == [[i] for i in range(5)]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("both_ways", [True, False])
def test_all_layers_and_directions_keep_equally_many_states(kind: str, both_ways: bool) -> None:
    layer = LAYERS[kind][0](5, 6, num_layers=2, bidirectional=both_ways, batch_first=True)
    model = reading(layer, outputs, 12 if both_ways else 6)
    graph = hold_the_laws(model, SENTENCE)
    small: Any = nk.cut(model, nk.plan(graph, nk.scores.Random(3), nk.Ratio(0.5)))
    assert small.rnn.hidden_size == 3
    assert small.rnn.input_size == 2
    assert {w.shape[1] for n, w in small.rnn.named_parameters() if n.startswith("weight_hh")} == {3}
    assert small.rnn.weight_ih_l1.shape[1] == small.b.weight.shape[1] == (6 if both_ways else 3)


def test_the_second_layer_reads_both_directions_of_the_first() -> None:
    layer = nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True)
    graph = graph_of(reading(layer, outputs, 12), SENTENCE)
    states = group_with(graph, "rnn.weight_hh_l0:1", "rnn.weight_hh_l1_reverse:1")
    columns = sorted(position for unit in held(states, "rnn.weight_ih_l1:1") for position in unit)
    assert columns == list(range(12))
    for unit in range(len(states)):
        forward, backward = (held(states, f"rnn.weight_hh_l0{way}:1")[unit] for way in ("", "_reverse"))
        assert held(states, "rnn.weight_ih_l1:1")[unit] == [*forward, *(6 + j for j in backward)]


def test_whoever_reads_the_last_states_of_several_layers_ties_them() -> None:
    layer = nn.LSTM(5, 6, num_layers=2, batch_first=True)
    graph = hold_the_laws(reading(layer, lambda n, x: n.b(n.rnn(n.a(x))[1][0][-1])), SENTENCE)
    states = group_with(graph, "rnn.weight_hh_l0:1", "rnn.weight_hh_l1:1")
    assert len(states) == 6
    assert held(states, "rnn.weight_hh_l0:1") == held(states, "rnn.weight_hh_l1:1") == held(states, "b.weight:1")


def test_last_states_that_are_returned_keep_their_width() -> None:
    layer = nn.LSTM(5, 6, num_layers=2, batch_first=True)
    graph = graph_of(reading(layer, lambda n, x: (n.b(n.rnn(n.a(x))[0]), n.rnn(n.a(x))[1])), SENTENCE)
    assert status(graph, "rnn.weight_ih_l0:0") == status(graph, "rnn.weight_hh_l1:1") == "blocked"
    assert status(graph, "rnn.weight_ih_l0:1") == "prunable"


@pytest.mark.parametrize(("start", "offered"), [(torch.zeros, True), (torch.ones, False)])
def test_states_that_start_at_zero_are_zero_when_masked_and_others_are_not(start: Any, offered: bool) -> None:
    """A sum over states, with no weights behind that would be zero too, tells the difference."""

    def forward(n: Any, x: Tensor) -> Tensor:
        out, _ = n.rnn(n.a(x), start(1, x.shape[0], n.rnn.hidden_size))
        return out.sum(-1)

    graph = graph_of(reading(nn.GRU(5, 6, batch_first=True), forward), SENTENCE)
    assert (status(graph, "rnn.weight_hh_l0:1") == "prunable") is offered


def test_a_plain_layer_forgets_where_it_started() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        return n.rnn(n.a(x), torch.ones(1, x.shape[0], n.rnn.hidden_size))[0].sum(-1)

    assert hold_the_laws(reading(nn.RNN(5, 6, batch_first=True), forward), SENTENCE).groups[-1].kind == "state"


def test_a_first_state_of_written_width_is_found_out_by_the_dry_run() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        return n.b(n.rnn(n.a(x), torch.zeros(1, x.shape[0], 6))[0])

    graph = nk.trace(reading(nn.GRU(5, 6, batch_first=True), forward), SENTENCE)
    assert [g.name for g in graph.groups] == ["a"]
    assert "after a cut the forward pass fails" in str(graph.explain("rnn.weight_hh_l0", 1))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_of_an_lstm_with_a_projection_the_projected_states_go_and_the_cells_stay() -> None:
    layer = nn.LSTM(5, 8, num_layers=2, proj_size=6, batch_first=True)
    model = reading(layer, outputs)
    graph = hold_the_laws(model, SENTENCE)
    states = group_with(graph, "rnn.weight_hr_l0:0", "rnn.weight_hh_l0:1", "rnn.weight_ih_l1:1")
    assert states.kind == "state"
    assert "a projection" in str(graph.explain("rnn.weight_ih_l0", 0))
    small: Any = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=[states]))
    assert (small.rnn.proj_size, small.rnn.hidden_size, small.rnn.input_size) == (3, 8, 5)


@pytest.mark.parametrize("padding", [0.0, 1.0])
def test_a_packed_batch_is_followed(padding: float) -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(n.a(x), torch.tensor([5, 3]), batch_first=True)
        return n.b(pad_packed_sequence(n.rnn(packed)[0], batch_first=True, padding_value=padding)[0])

    graph = hold_the_laws(reading(nn.LSTM(5, 6), forward), SENTENCE)
    assert [len(g) for g in graph.groups] == [5, 6]


def test_what_is_padded_with_is_not_always_zero() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(n.a(x), torch.tensor([5, 3]), batch_first=True)
        return pad_packed_sequence(n.rnn(packed)[0], batch_first=True, padding_value=1.0)[0].sum(-1)

    assert status(graph_of(reading(nn.LSTM(5, 6), forward), SENTENCE), "rnn.weight_hh_l0:1") == "blocked"


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("bias", [True, False])
def test_cells_in_a_loop(kind: Any, bias: bool) -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        state = None
        for step in n.a(x).unbind(1):
            state = n.rnn(step, state)
        return n.b(state[0] if kind is nn.LSTMCell else state)

    model = reading(kind(5, 6, bias=bias), forward)
    graph = hold_the_laws(model, SENTENCE)
    assert held(group_with(graph, "rnn.weight_ih:0", "rnn.weight_hh:1"), "b.weight:1") == [[j] for j in range(6)]
    small: Any = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5)))
    assert (small.rnn.input_size, small.rnn.hidden_size) == (2, 3)


def test_sequences_without_a_batch() -> None:
    hold_the_laws(reading(nn.LSTM(5, 6, bidirectional=True), outputs, 12), SENTENCE[0])


def test_multiply_adds_are_counted_gate_by_gate() -> None:
    model = reading(nn.LSTM(5, 6, batch_first=True), outputs)
    graph = nk.trace(model, SENTENCE)
    assert graph.macs() == 10 * (4 * 5) + 10 * (4 * 6 * (5 + 6)) + 10 * (6 * 3)
    small = nk.cut(model, nk.plan(graph, target=nk.Ratio({"rnn*": 0.5})))
    assert nk.trace(small, SENTENCE).macs() == 10 * (4 * 5) + 10 * (4 * 3 * (5 + 3)) + 10 * (3 * 3)


def test_the_list_that_the_forward_pass_reads_holds_the_new_weights() -> None:
    model = reading(nn.GRU(5, 6, batch_first=True), outputs)
    small: Any = nk.cut(model, nk.plan(nk.trace(model, SENTENCE)))
    named = dict(small.rnn.named_parameters())
    assert all(w is named[n] for w, n in zip(small.rnn._flat_weights, small.rnn._flat_weights_names, strict=True))


def test_a_weight_norm_lets_states_and_inputs_go() -> None:
    layer = parametrizations.weight_norm(nn.LSTM(5, 6, batch_first=True), "weight_hh_l0")
    graph = graph_of(reading(layer, outputs), SENTENCE)
    assert status(graph, "rnn.weight_ih_l0:1") == "prunable"
    assert status(graph, "rnn.weight_ih_l0:0") == "prunable"


@pytest.mark.parametrize("dim", [0, 1, None])
def test_rows_and_columns_of_a_weight_norm_go(dim: int | None) -> None:
    middle = parametrizations.weight_norm(nn.Linear(5, 6), dim=dim)
    model = planted(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), middle, nn.ReLU(), nn.Linear(6, 3)))()
    graph = hold_the_laws(model, SENTENCE)
    found = [status(graph, f"2.parametrizations.weight.original1:{d}") == "prunable" for d in (1, 0)]
    assert found == [True, True]


def test_a_cell_written_by_hand_may_begin_with_zeros_beside_its_input() -> None:
    """The made zeros stand where later the state does: they are as long as the number says, and that follows."""

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden_size, self.gates, self.out = 6, nn.Linear(10, 24), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = c = x.new_zeros(x.shape[0], self.hidden_size)
            for t in range(x.shape[1]):
                i, f, o, g = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            return self.out(h)

    torch.manual_seed(0)
    model, x = Cell(), torch.randn(2, 3, 4)
    graph = nk.trace(model, x)
    assert [len(g) for g in graph.groups] == [6]
    assert graph["gates"].entries["gates.weight", 1].positions.tolist() == [4, 5, 6, 7, 8, 9]
    laws.cut_equals_masked(model, x, graph=graph)
