"""Modules used more than once, and one tensor in several roles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.nursery import Specimen, axes, ends, floats, images, planted, tags, ties, tokens


class Repeated(nn.Module):
    """One convolution, twice in a row: what it makes is what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1)
        self.shared = nn.Conv2d(10, 10, 3, padding=1)
        self.fc = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for _ in range(2):
            x = F.relu(self.shared(x))
        return self.fc(x.mean((2, 3)))


class Siamese(nn.Module):
    """One convolution on two branches, which then stand side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 8, 3, padding=1)
        self.right = nn.Conv2d(1, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(12, 5)

    def forward(self, colour: Tensor, depth: Tensor) -> Tensor:
        a = F.relu(self.shared(F.relu(self.left(colour))))
        b = F.relu(self.shared(F.relu(self.right(depth))))
        return self.fc(torch.cat([a, b], dim=1).mean((2, 3)))


class TiedLinears(nn.Module):
    """Two layers hold the same parameter, each with a bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 12)
        self.fc1 = nn.Linear(12, 12)
        self.fc2 = nn.Linear(12, 12)
        self.fc2.weight = self.fc1.weight
        self.leave = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.enter(x))
        x = torch.tanh(self.fc1(x))
        return self.leave(torch.tanh(self.fc2(x)))


class Autoencoder(nn.Module):
    """Decodes with the transpose of what it encodes with."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(10, 6))
        self.hidden_bias = nn.Parameter(torch.zeros(10))
        self.output_bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.sigmoid(F.linear(x, self.w, self.hidden_bias))
        return F.linear(hidden, self.w.t(), self.output_bias)


class TiedEmbedding(nn.Module):
    """Reads and writes words with one table."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 12)
        self.fc1 = nn.Linear(12, 16)
        self.fc2 = nn.Linear(16, 12)
        self.head = nn.Linear(12, 20, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        x = x + self.fc2(F.silu(self.fc1(x)))
        return self.head(x)


class OneMadeLength(nn.Module):
    """Adds the same zeros, as long as the first branch is wide, to two branches that have nothing else in common."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 12), nn.Linear(6, 12)
        self.from_left, self.from_right = nn.Linear(12, 4), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        silence = torch.zeros(left.shape[-1])
        return self.from_left(torch.tanh(left + silence)) + self.from_right(torch.tanh(self.right(x) + silence))


SPECIMENS = (
    Specimen(
        "shared_in_sequence",
        planted(Repeated),
        images(3, 6),
        tags("cnn shared"),
        blocks=ends("stem", "fc"),
        prunable=axes("stem.weight:0 shared.weight:0"),
        tied=ties("stem.weight:0 shared.weight:0 shared.weight:1 shared.bias:0 fc.weight:1"),
    ),
    Specimen(
        "shared_on_branches",
        planted(Siamese),
        floats((2, 3, 6, 6), (2, 1, 6, 6)),
        tags("cnn shared concat"),
        blocks=ends("left", "fc") + axes("right.weight:1"),
        prunable=axes("left.weight:0 right.weight:0 shared.weight:0"),
        tied=ties(
            "left.weight:0 right.weight:0 shared.weight:1",
            "shared.weight:0 shared.bias:0 fc.weight:1",
        ),
    ),
    Specimen(
        "tied_linears",
        planted(TiedLinears),
        floats((2, 6)),
        tags("mlp shared"),
        blocks=ends("enter", "leave"),
        prunable=axes("enter.weight:0 fc1.weight:0"),
        tied=ties("enter.weight:0 fc1.weight:1 fc1.weight:0 fc1.bias:0 fc2.bias:0 leave.weight:1"),
    ),
    Specimen(
        "tied_autoencoder",
        planted(Autoencoder),
        floats((2, 6)),
        tags("mlp shared"),
        blocks=axes("w:1 output_bias:0"),
        prunable=axes("w:0"),
        tied=ties("w:0 hidden_bias:0"),
    ),
    Specimen(
        "tied_embedding",
        planted(TiedEmbedding),
        tokens(20, 5),
        tags("mlp shared embedding residual"),
        blocks=axes("emb.weight:0"),
        prunable=axes("emb.weight:1 fc1.weight:0"),
        tied=ties("emb.weight:1 fc1.weight:1 fc2.weight:0 fc2.bias:0", "fc1.weight:0 fc2.weight:1"),
    ),
    Specimen(
        "one_made_length",
        planted(OneMadeLength),
        floats((2, 6)),
        tags("mlp balance"),
        blocks=ends("left", "from_left") + ends("right", "from_right"),
        prunable=axes("left.weight:0 right.weight:0"),
        tied=ties("left.weight:0 from_left.weight:1", "right.weight:0 from_right.weight:1"),
    ),
)
