"""Networks of matrices alone: an MLP-Mixer, and one written in Einstein's notation."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.families.feeds import alone, floats
from niwaki.testing.families.handmade import handmade


def mlp(width: int, inner: int) -> nn.Sequential:
    """Make an MLP of one inner layer."""
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class MixerBlock(nn.Module):
    """Mixes the patches of each channel, then the channels of each patch."""

    def __init__(self, patches: int, width: int, inner: tuple[int, int]) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across, self.within = mlp(patches, inner[0]), mlp(width, inner[1])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


class MlpMixer(nn.Module):
    """Cuts the picture into patches, and mixes."""

    def __init__(self, image: int, patch: int, width: int, inner: tuple[int, int], depth: int, labels: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.Sequential(*(MixerBlock((image // patch) ** 2, width, inner) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class EinsumBlock(nn.Module):
    """Each head mixes the moments by a matrix of its own; its weights keep heads and their features apart."""

    def __init__(self, length: int, width: int, heads: int, head_dim: int, inner: int) -> None:
        super().__init__()
        self.enter = nn.Parameter(torch.randn(heads, head_dim, width))
        self.mix = nn.Parameter(torch.randn(heads, length, length))
        self.leave = nn.Parameter(torch.randn(heads, width, head_dim))
        self.up, self.down = nn.Parameter(torch.randn(inner, width)), nn.Parameter(torch.randn(width, inner))

    def forward(self, x: Tensor) -> Tensor:
        value = torch.einsum("btc,hdc->bhtd", x, self.enter)
        mixed = torch.einsum("hst,bhtd->bhsd", self.mix, value)
        x = x + torch.einsum("bhsd,hcd->bsc", mixed, self.leave)
        return x + torch.einsum("bsn,cn->bsc", F.gelu(torch.einsum("bsc,nc->bsn", x, self.up)), self.down)


class EinsumMixer(nn.Module):
    """Sums over named axes, and nothing else."""

    def __init__(self, features: int, length: int, width: int, depth: int, labels: int) -> None:
        super().__init__()
        self.enter = nn.Parameter(torch.randn(width, features))
        self.blocks = nn.Sequential(*(EinsumBlock(length, width, 4, 6, 40) for _ in range(depth)))
        self.head = nn.Parameter(torch.randn(labels, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(torch.einsum("btf,cf->btc", x, self.enter))
        return torch.einsum("btc,lc->bl", x, self.head) / x.shape[1]


FAMILIES = (
    handmade(
        "mlp_mixer",
        "vision encoder norm_statistics",
        "neuron hidden",
        partial(MlpMixer, 24, 8, 32, (14, 40), 2, 5),
        alone(floats(2, 3, 24, 24)),
        partial(MlpMixer, 224, 16, 768, (384, 3072), 12, 1000),
        alone(floats(1, 3, 224, 224)),
        note="The neurons of one of its MLPs read patches, those of the other read channels.",
    ),
    handmade(
        "einsum_mixer",
        "encoder einsum",
        "neuron head head_dim hidden",
        partial(EinsumMixer, 10, 7, 32, 2, 5),
        alone(floats(2, 7, 10)),
    ),
)
