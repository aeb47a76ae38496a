"""Small networks for the calibration tests, and ways to look at them by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.calibration import Activity, Block, Calibration, Source


class Residual(nn.Module):
    """A basic block with batch norms."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x)


class Deep(nn.Module):
    """A stem, residual blocks, a head."""

    def __init__(self, depth: int = 3, width: int = 5, inner: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.blocks = nn.ModuleList(Residual(width, inner) for _ in range(depth))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def alive(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics everywhere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if t.is_floating_point():
                drawn = torch.randn(t.shape, generator=generator)
                t.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn * (0.4 if t.dim() > 1 else 0.2))
    return model.eval()


def deep(depth: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return alive(Deep(depth))


def perceptron() -> nn.Module:
    return alive(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 10), nn.GELU(), nn.Linear(10, 4)))


def images(count: int = 24) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def rows(count: int = 64) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def calibration(model: nn.Module, data: Tensor, size: int = 8, **settings: object) -> Calibration:
    graph = nk.trace(model, data[:1])
    return Calibration(model, graph, Source(list(data.split(size)), data[:1]), **settings)  # type: ignore[arg-type]


def block(found: Calibration, name: str) -> Block:
    return next(b for b in found.blocks(found.graph.groups) if b.group.name == name)


def activity(model: nn.Module, data: Tensor, name: str, size: int = 8, moments: bool = False) -> Activity:
    found = calibration(model, data, size)
    return found.activity(block(found, name), moments=moments)
