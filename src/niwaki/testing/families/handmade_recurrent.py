"""Recurrent networks that label each word."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from niwaki.testing.families.feeds import VOCABULARY, alone, ids
from niwaki.testing.families.handmade import handmade


class LstmTagger(nn.Module):
    """Reads from left to right."""

    def __init__(self, vocabulary: int, width: int, inner: int, labels: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, inner, batch_first=True)
        self.head = nn.Linear(inner, labels)

    def forward(self, ids: Tensor) -> Tensor:
        read, _ = self.lstm(self.embed(ids))
        return self.head(read)


class GruTagger(nn.Module):
    """Reads both ways, twice."""

    def __init__(self, vocabulary: int, width: int, inner: int, labels: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, inner, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * inner, labels)

    def forward(self, ids: Tensor) -> Tensor:
        read, _ = self.gru(self.embed(ids))
        return self.head(read)


SENTENCE = alone(ids(2, 7))

FAMILIES = (
    handmade("lstm", "text recurrent", "hidden", partial(LstmTagger, VOCABULARY, 10, 14, 5), SENTENCE),
    handmade("gru", "text recurrent", "hidden", partial(GruTagger, VOCABULARY, 10, 14, 5), SENTENCE),
)
