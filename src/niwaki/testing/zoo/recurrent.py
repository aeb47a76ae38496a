"""Recurrent models: taggers, packed batches, cells in a loop, learned starts, an encoder that starts a decoder."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from niwaki.testing.zoo.nursery import Inputs, Specimen, axes, ends, floats, planted, seeded, tags, ties, tokens


class WordTagger(nn.Module):
    """Embeds words, reads them from left to right and labels each."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 10, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.emb(ids))[0])


class DeepTagger(nn.Module):
    """Two layers, two directions each: they share one hidden size, and the second reads both of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 8)
        self.gru = nn.GRU(8, 6, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1)
        self.head = nn.Linear(12, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.gru(self.emb(ids))[0])


class LastState(nn.Module):
    """Answers from the last states of both directions, without biases, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.rnn = nn.RNN(8, 10, nonlinearity="relu", bias=False, bidirectional=True)
        self.leave = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.rnn(self.enter(x).transpose(0, 1))
        return self.leave(torch.cat([last[0], last[1]], dim=-1))


class Packed(nn.Module):
    """Packs sentences of unequal length; the lengths are numbers that the forward reads."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 10, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.emb(ids), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head(out)


class CellLoop(nn.Module):
    """One cell, step by step, in a loop of the user's own; the states start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.cell = nn.LSTMCell(8, 10)
        self.leave = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        seen = []
        for step in self.enter(x).unbind(1):
            state = self.cell(step, state)
            seen.append(state[0])
        return self.leave(torch.stack(seen, dim=1))


class LearnedStart(nn.Module):
    """The first state is a parameter: its entries go with the states."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.gru = nn.GRU(8, 10, batch_first=True)
        self.start = nn.Parameter(torch.zeros(1, 1, 10))
        self.leave = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.gru(self.enter(x), self.start.expand(-1, x.shape[0], -1).contiguous())
        return self.leave(out)


class Translator(nn.Module):
    """The encoder's last states are the decoder's first."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, 8), nn.Embedding(20, 6)
        self.encoder = nn.LSTM(8, 10, batch_first=True)
        self.decoder = nn.LSTM(6, 10, batch_first=True)
        self.leave = nn.Linear(10, 4)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, state = self.encoder(self.source(source))
        return self.leave(self.decoder(self.target(target), state)[0])


class GivenStart(nn.Module):
    """The first state comes in from outside, as wide as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.gru = nn.GRU(8, 10, batch_first=True)
        self.leave = nn.Linear(10, 4)

    def forward(self, x: Tensor, start: Tensor) -> Tensor:
        return self.leave(self.gru(self.enter(x), start)[0])


def _sentences() -> Inputs:
    return torch.randint(20, (2, 5)), torch.tensor([3, 5])


def _pairs() -> Inputs:
    return torch.randint(20, (2, 5)), torch.randint(20, (2, 4))


SENTENCE = floats((2, 5, 6))
WORDS = axes("head.weight:0 head.bias:0")

SPECIMENS = (
    Specimen(
        "lstm_words",
        planted(WordTagger),
        tokens(20, 5),
        tags("recurrent embedding"),
        blocks=WORDS + axes("emb.weight:0"),
        prunable=axes("emb.weight:1 lstm.weight_ih_l0:0"),
        tied=ties(
            "emb.weight:1 lstm.weight_ih_l0:1",
            "lstm.weight_ih_l0:0 lstm.weight_hh_l0:0 lstm.weight_hh_l0:1 lstm.bias_ih_l0:0 lstm.bias_hh_l0:0 "
            "head.weight:1",
        ),
    ),
    Specimen(
        "gru_two_layers_both_ways",
        planted(DeepTagger),
        tokens(20, 5),
        tags("recurrent embedding"),
        blocks=WORDS + axes("emb.weight:0"),
        prunable=axes("emb.weight:1 gru.weight_ih_l0:0 gru.weight_ih_l1_reverse:0"),
        tied=ties(
            "emb.weight:1 gru.weight_ih_l0:1 gru.weight_ih_l0_reverse:1",
            "gru.weight_ih_l0:0 gru.weight_hh_l0:1 gru.weight_ih_l1:1 gru.weight_ih_l1_reverse:1 "
            "gru.weight_hh_l0_reverse:0 gru.bias_hh_l1_reverse:0 head.weight:1",
        ),
    ),
    Specimen(
        "rnn_last_state",
        planted(LastState),
        SENTENCE,
        tags("recurrent"),
        blocks=ends("enter", "leave"),
        prunable=axes("enter.weight:0 rnn.weight_ih_l0:0"),
        tied=ties(
            "enter.weight:0 rnn.weight_ih_l0:1 rnn.weight_ih_l0_reverse:1",
            "rnn.weight_ih_l0:0 rnn.weight_hh_l0:1 rnn.weight_hh_l0_reverse:1 leave.weight:1",
        ),
    ),
    Specimen(
        "lstm_packed",
        planted(Packed),
        partial(seeded, _sentences),
        tags("recurrent embedding reads_values"),
        blocks=WORDS + axes("emb.weight:0"),
        prunable=axes("emb.weight:1 lstm.weight_hh_l0:0"),
        tied=ties("emb.weight:1 lstm.weight_ih_l0:1", "lstm.weight_hh_l0:0 lstm.weight_hh_l0:1 head.weight:1"),
    ),
    Specimen(
        "lstm_cell_loop",
        planted(CellLoop),
        SENTENCE,
        tags("recurrent"),
        blocks=ends("enter", "leave"),
        prunable=axes("enter.weight:0 cell.weight_ih:0"),
        tied=ties(
            "enter.weight:0 cell.weight_ih:1",
            "cell.weight_ih:0 cell.weight_hh:0 cell.weight_hh:1 cell.bias_ih:0 leave.weight:1",
        ),
    ),
    Specimen(
        "gru_learned_start",
        planted(LearnedStart),
        SENTENCE,
        tags("recurrent"),
        blocks=ends("enter", "leave") + axes("start:0 start:1"),
        prunable=axes("gru.weight_ih_l0:0 start:2"),
        tied=ties("start:2 gru.weight_ih_l0:0 gru.weight_hh_l0:1 gru.bias_ih_l0:0 leave.weight:1"),
    ),
    Specimen(
        "lstm_encoder_decoder",
        planted(Translator),
        partial(seeded, _pairs),
        tags("recurrent embedding"),
        blocks=axes("source.weight:0 target.weight:0 leave.weight:0 leave.bias:0"),
        prunable=axes("source.weight:1 target.weight:1 encoder.weight_ih_l0:0"),
        tied=ties("encoder.weight_ih_l0:0 encoder.weight_hh_l0:1 decoder.weight_ih_l0:0 decoder.weight_hh_l0:1"),
    ),
    Specimen(
        "gru_given_start",
        planted(GivenStart),
        floats((2, 5, 6), (1, 2, 10)),
        tags("recurrent must_block"),
        blocks=ends("enter", "leave") + axes("gru.weight_ih_l0:0 gru.weight_hh_l0:1 leave.weight:1"),
        prunable=axes("enter.weight:0"),
        tied=ties("enter.weight:0 gru.weight_ih_l0:1"),
    ),
)
