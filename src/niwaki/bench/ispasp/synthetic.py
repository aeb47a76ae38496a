"""The study on made-up matrices (Figure 2): what is lost, for every number of units that stay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from niwaki.bench.ispasp.printed import FIGURE_2
from niwaki.recipes.progress import Teller
from niwaki.recovery import TwoLayer, compressible, ispasp


@dataclass(frozen=True)
class Synthetic:
    """Its settings. W1 is square, with PyTorch's initial weights of a linear layer, the same for all H of its width.

    The paper does not say how many outputs there are, nor how W1 is drawn: both are reconstructed from its curves.

    Attributes:
        widths: numbers of hidden units. ps: how the masses fall, see `recovery.compressible`.
        matrices: H drawn for each. samples: columns of H. iters: of i-SpaSP. seed: of everything.
    """

    widths: Sequence[int] = (100, 200)
    ps: Sequence[float] = (0.3, 0.5, 0.7, 0.9)
    matrices: int = 3
    samples: int = 100
    iters: int = 20
    seed: int = 0

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """Eight curves: ``width``, ``p``, and ``residuals``, the mean ``||V||_F^2`` with 1, 2, ... units kept."""
        curves = []
        with (teller or Teller()).stage("curves", len(self.widths) * len(self.ps)) as tick:
            for width in self.widths:
                for p in self.ps:
                    curves.append({"width": width, "p": p, "residuals": self.curve(width, p).tolist()})
                    tick(f"{width} units, p {p}")
        return curves

    def curve(self, width: int, p: float) -> Tensor:
        """The mean ``||V||_F^2`` over the matrices with 1 to ``width`` units kept: (width,)."""
        second = self.second(width)
        found = torch.zeros(width, dtype=torch.float64)
        for number in range(self.matrices):
            model = TwoLayer(self.hidden(width, p, number), second)
            found += torch.tensor([self._residual(model, keep) for keep in range(1, width + 1)], dtype=torch.float64)
        return found / self.matrices

    def second(self, width: int) -> Tensor:
        """W1: width x width, uniform within one over the square root of the width."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + width)
        return (2 * torch.rand(width, width, dtype=torch.float64, generator=generator) - 1) / math.sqrt(width)

    def hidden(self, width: int, p: float, number: int) -> Tensor:
        """H: width x samples, the matrix of that number."""
        seed = 1_000_003 * self.seed + 10_007 * width + 101 * round(100 * p) + number
        return compressible(p, width, self.samples, seed=seed)

    def _residual(self, model: TwoLayer, keep: int) -> float:
        return model.residual(ispasp(model, keep, iters=self.iters))


def miss(curve: Mapping[str, Any]) -> float | None:
    """The mean ``|log10|`` of ours over the paper's, at the points read off its figure; None if it has no such one."""
    printed = FIGURE_2.get(curve["width"], {}).get(curve["p"])
    if printed is None:
        return None
    misses = [abs(math.log10(curve["residuals"][keep - 1] / value)) for keep, value in printed.items()]
    return sum(misses) / len(misses)


__all__ = ["Synthetic", "miss"]
