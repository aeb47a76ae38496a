"""A recommender that reads a table: numbers, and names of things."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from niwaki.testing.families.feeds import floats, positional
from niwaki.testing.families.handmade import handmade


def tower(widths: tuple[int, ...]) -> nn.Sequential:
    """Make an MLP that ends in a ReLU."""
    pairs = pairwise(widths)
    return nn.Sequential(*(nn.Sequential(nn.Linear(enter, leave), nn.ReLU()) for enter, leave in pairs))


class Dlrm(nn.Module):
    """Bags of embeddings and an MLP of the numbers meet pairwise, in inner products, like Meta's DLRM."""

    below: Tensor

    def __init__(self, numbers: tuple[int, ...], tables: tuple[int, ...], top: tuple[int, ...]) -> None:
        super().__init__()
        width = numbers[-1]
        self.bottom = tower(numbers)
        self.tables = nn.ModuleList(nn.EmbeddingBag(count, width, mode="sum") for count in tables)
        pairs = torch.tril_indices(len(tables) + 1, len(tables) + 1, offset=-1)
        self.register_buffer("below", pairs, persistent=False)
        self.top = tower((width + pairs.shape[1], *top))
        self.head = nn.Linear(top[-1], 1)

    def forward(self, numbers: Tensor, names: Tensor) -> Tensor:
        dense = self.bottom(numbers)
        told = [table(bag) for table, bag in zip(self.tables, names.unbind(dim=1), strict=True)]
        features = torch.stack([dense, *told], dim=1)
        products = features @ features.transpose(1, 2)
        pairs = products[:, self.below[0], self.below[1]]
        return self.head(self.top(torch.cat([dense, pairs], dim=1)))


FAMILIES = (
    handmade(
        "dlrm",
        "recommender embedding_bag concat",
        "neuron hidden",
        partial(Dlrm, (6, 20, 12), (17, 19, 23), (28, 14)),
        positional(floats(2, 6), partial(torch.randint, 17, (2, 3, 2))),
        note="The hidden features are those of the embeddings, in every table at once.",
    ),
)
