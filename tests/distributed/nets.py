"""Small networks for several processes, with widths that ranks cannot share out evenly, and their exercises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GLOBAL = 8
"""Samples of a step, over all ranks."""


class Block(nn.Module):
    """Neurons between two layers, beside a residual stream."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Perceptron(nn.Module):
    """Two blocks of unlike widths."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 12)
        self.blocks = nn.ModuleList([Block(12, 10), Block(12, 13)])
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class Convolutions(nn.Module):
    """Convolutions with batch norms that keep their statistics: those of a batch would be of a rank's own samples."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 7), (7, 10)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))

    def train(self, mode: bool = True) -> Convolutions:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


@dataclass(frozen=True)
class Subject:
    """A network, one sample's shape, and which modules are sharded by themselves."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    units: Callable[[nn.Module], list[nn.Module]]

    def model(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        model = self.build()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2.0)
                    module.weight.uniform_(0.5, 1.5)
        return model.train()

    def inputs(self) -> Tensor:
        return torch.zeros(2, *self.shape)

    def batch(self, step: int, rank: int, size: int) -> tuple[Tensor, Tensor]:
        """This rank's share of the samples of a step, and what is to come out."""
        drawn = torch.Generator().manual_seed(1000 + step)
        x = torch.randn(GLOBAL, *self.shape, generator=drawn)
        y = torch.randn(GLOBAL, 3, generator=drawn)
        mine = slice(rank * GLOBAL // size, (rank + 1) * GLOBAL // size)
        return x[mine], y[mine]

    def batches(self, rank: int, size: int, count: int = 4) -> list[tuple[Tensor, Tensor]]:
        """This rank's share of the batches to look at, which are not alike: what one rank sees is not what all see."""
        return [self._shifted(500 + k) for k in range(count)][rank::size]

    def _shifted(self, step: int) -> tuple[Tensor, Tensor]:
        (x, y), drawn = self.batch(step, 0, 1), torch.Generator().manual_seed(step)
        return x + 3 * torch.randn(1, *self.shape, generator=drawn), y


SUBJECTS = {
    "perceptron": Subject(Perceptron, (6,), lambda m: list(m.blocks)),
    "convolutions": Subject(Convolutions, (3, 5, 5), lambda m: [m.body]),
}


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[1])
