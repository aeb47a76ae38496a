"""Recurrent layers and cells: LSTM, GRU, plain. Their units are the hidden *states*.

A state is one row of every gate's block (of ``weight_ih`` and ``weight_hh``, shape ``(gates × hidden, …)``, and of both
biases) and one column of ``weight_hh``. With all of these zero the gates stand at ``sigmoid(0) = 1/2`` and the new
value at ``tanh(0) = 0``, so that a masked state only ever halves what it started from:

- LSTM: ``c' = c/2 + 0/2``, ``h' = tanh(c')/2``: zero if the first ``c`` is;
- GRU: ``h' = 0/2 + h/2``: zero if the first ``h`` is;
- plain: ``h' = tanh(0)`` or ``relu(0)``: zero whatever came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label
from niwaki.graph.rules import rule
from niwaki.graph.rules.pieces import join

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class _Weights:
    """The parameters of one direction of one layer: ``into`` (gates × hidden, input), ``again`` (gates × hidden,
    hidden or projected), biases (gates × hidden), and the projection (projected, hidden) of an LSTM that has one."""

    into: Tensor
    again: Tensor
    biases: tuple[Tensor, ...] = ()
    projection: Tensor | None = None


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def layers(call: Call) -> None:
    """Several layers, one or two directions each; over a padded batch, or over a packed one (``batch_sizes``)."""
    packed = "batch_sizes" in call.arguments
    x: Tensor = call["data"] if packed else call["input"]
    starts = [call.labels(t) for t in _starts(call)]
    for label in (s[0] for s in starts):
        call.refuse([label], "one entry per layer and direction")
    lead, batch = _lead(call, x, starts, packed)
    rows = x.numel() // x.shape[-1]
    directions = 2 if call["bidirectional"] else 1
    taken, states, cells = call.labels(x)[-1], [], []
    for _, layer in _by_layer(call, directions):
        made = [_state(call, w, taken, [s[-1] for s in starts], rows) for w in layer]
        states += [h for h, _ in made]
        cells += [c for _, c in made]
        taken = join(call, [(h, w.again.shape[1]) for (h, _), w in zip(made, layer, strict=True)])
    out, *ends = call.results()
    call.give(out, [*lead, taken])
    for end, labels in zip(ends, (states, cells), strict=False):
        _end(call, end, labels, batch)


def _starts(call: Call) -> list[Tensor]:
    """The first hidden state, and of an LSTM the first cell state: (layers × directions, batch, hidden) each."""
    hx = call["hx"]
    return [hx] if isinstance(hx, Tensor) else list(hx)


def _lead(call: Call, x: Tensor, starts: Sequence[list[Label]], packed: bool) -> tuple[list[Label], Label]:
    """The labels of the output's first dimensions (time and batch, or the rows of a packed batch), and the batch's."""
    labels = call.labels(x)
    if packed:
        fixed = call.refuse([labels[0], *(s[1] for s in starts)], "the sequences of a packed batch")
        return [fixed], fixed
    time, where = (1, 0) if call["batch_first"] else (0, 1)
    batch = call.meet([labels[where], *(s[1] for s in starts)], "none")
    lead = [batch, batch]
    lead[time] = call.refuse([labels[time]], "time steps of a recurrent layer")
    return lead, batch


def _by_layer(call: Call, directions: int) -> list[tuple[int, list[_Weights]]]:
    """The flat list of parameters, layer by layer and direction by direction."""
    params: list[Tensor] = list(call["params"])
    count = call["num_layers"] * directions
    each = len(params) // count
    biases = 2 if call["has_biases"] else 0
    found = []
    for k in range(count):
        into, again, *more = params[k * each : (k + 1) * each]
        found.append(_Weights(into, again, tuple(more[:biases]), more[biases] if more[biases:] else None))
    return [(k, found[k * directions : (k + 1) * directions]) for k in range(call["num_layers"])]


def _state(call: Call, weights: _Weights, taken: Label, starts: Sequence[Label], rows: int) -> tuple[Label, Label]:
    """The labels of what one direction of one layer gives out, and of what it remembers (the same, unless an LSTM
    projects). ``taken``: the input's features. ``rows``: time steps × batch."""
    gates = GATES[call.op.removesuffix("_cell")]
    made = call.meet([call.labels(t)[0] for t in (weights.into, weights.again, *weights.biases)])
    if isinstance(made, Atoms) and not made.clean:
        made = call.refuse([made], "gates whose weights do not vanish when their state is masked")
    columns, back = call.labels(weights.into)[1], call.labels(weights.again)[1]
    call.play(made, "makes", "state")
    for label in (columns, back):
        call.play(label, "takes", "state")
    size = weights.into.shape[0]
    call.cost(rows, (made, size), (columns, weights.into.shape[1]))
    call.cost(rows, (made, size), (back, weights.again.shape[1]))
    call.contract(taken, columns)
    call.contract(starts[0], back)
    remembered = _folded(call, made, gates)
    call.hint(remembered, "state")
    if call.op.startswith("rnn"):
        remembered = call.meet([remembered, back])
        return remembered, remembered
    if weights.projection is not None:
        return _projected(call, weights.projection, remembered, [*starts[1:]], back, rows)
    remembered = call.meet([remembered, back, starts[-1]])
    return remembered, remembered


def _folded(call: Call, made: Label, gates: int) -> Label:
    """One label out of the rows of all gates: state ``j`` is the rows ``j``, ``hidden + j``, ``2 hidden + j``, …"""
    if not isinstance(made, Atoms):
        return made
    first, *others = np.split(made.ids, gates)
    for block in others:
        call.ledger.tie(first, block, call.site)
    return Atoms(first, made.clean)


def _projected(
    call: Call, projection: Tensor, cell: Label, starts: list[Label], back: Label, rows: int
) -> tuple[Label, Label]:
    """``h = W_hr (o · tanh(c))``, with ``W_hr`` of shape (projected, hidden): its rows may go, and the cells stay."""
    made, columns = call.labels(projection)
    call.play(made, "makes", "state")
    call.cost(rows, (made, projection.shape[0]), (columns, projection.shape[1]))
    call.hint(made, "state")
    call.contract(cell, columns)
    text = "the cells of an LSTM with a projection: torch tells it from one without by the two sizes being different"
    kept = call.refuse([cell, columns, *starts], text)
    return call.meet([made, back]), kept


def _end(call: Call, end: Tensor, labels: list[Label], batch: Label) -> None:
    """The last states (layers × directions, batch, hidden). All of them share one hidden size, hence the balance; and
    one position of the stacked tensor is a state of each, so whoever reads it ties them."""
    atoms = [x for x in labels if isinstance(x, Atoms)]
    if len(labels) == 1:
        return call.give(end, [Free(), batch, labels[0]])
    if len(atoms) < len(labels):
        call.refuse(atoms, "all layers and directions have the same hidden size, and in one of them it is fixed")
        fixed = next(x for x in labels if not isinstance(x, Atoms))
        return call.give(end, [call.fixed("one entry per layer and direction"), batch, fixed])
    call.ledger.balance([x.ids for x in atoms], call.site)
    hidden = Atoms(atoms[0].ids, all(x.clean for x in atoms))
    call.give(end, [call.fixed("one entry per layer and direction"), batch, hidden])
    call.when_used(end, lambda: _tie(call, atoms))


def _tie(call: Call, labels: list[Atoms]) -> None:
    for other in labels[1:]:
        call.ledger.tie(labels[0].ids, other.ids, call.site)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(call: Call) -> None:
    """One step of one layer: input (batch, input), states (batch, hidden)."""
    x: Tensor = call["input"]
    starts = [call.labels(t) for t in _starts(call)]
    biases = tuple(t for t in (call.get("b_ih"), call.get("b_hh")) if isinstance(t, Tensor))
    weights = _Weights(call["w_ih"], call["w_hh"], biases)
    batch, taken = call.labels(x)
    batch = call.meet([batch, *(s[0] for s in starts)], "none")
    state, _ = _state(call, weights, taken, [s[-1] for s in starts], x.shape[0])
    for t in call.results():
        call.give(t, [batch, state])


@rule("_pack_padded_sequence")
def pack(call: Call) -> None:
    """(time, batch, features) to (rows, features), with how many sequences go on at each time."""
    data, sizes = call.results()
    time, batch, *features = call.labels(call["input"])
    rows = call.refuse([time, batch], "the sequences of a packed batch")
    call.give(data, [rows, *features])
    call.give(sizes, [rows])


@rule("_pad_packed_sequence")
def unpack(call: Call) -> None:
    """And back; what is written behind the shorter sequences is zero, unless the code says otherwise."""
    padded, lengths = call.results()
    rows, *features = call.labels(call["data"])
    fixed = call.refuse([rows], "the sequences of a packed batch")
    if call.get("padding_value"):
        features = [x.soiled() if isinstance(x, Atoms) else x for x in features]
    call.give(padded, [fixed, fixed, *features])
    call.give(lengths, [fixed])
