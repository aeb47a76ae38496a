"""Networks whose weights are computed from others each time they are read."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from niwaki.testing.families.handmade import pictured


class WeightNormed(nn.Module):
    """Convolutions of a length and a direction each."""

    def __init__(self, widths: tuple[int, ...], labels: int) -> None:
        super().__init__()
        pairs = zip((3, *widths), widths, strict=False)
        self.convs = nn.Sequential(*(weight_norm(nn.Conv2d(enter, leave, 3, 2, 1)) for enter, leave in pairs))
        self.head = weight_norm(nn.Linear(widths[-1], labels))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
        return self.head(x.mean(dim=(2, 3)))


class SpectralNormed(nn.Module):
    """A critic: no layer stretches anything, since each is divided by its largest singular value."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip((3, *widths), widths, strict=False)
        self.convs = nn.Sequential(*(spectral_norm(nn.Conv2d(enter, leave, 4, 2, 1)) for enter, leave in pairs))
        self.inner = spectral_norm(nn.Linear(widths[-1], 28))
        self.head = spectral_norm(nn.Linear(28, 1))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return self.head(F.leaky_relu(self.inner(x.sum(dim=(2, 3))), 0.2))


FAMILIES = (
    pictured("weight_norm", "parametrized", partial(WeightNormed, (12, 16, 20), 5)),
    pictured(
        "spectral_norm",
        "parametrized",
        partial(SpectralNormed, (12, 16, 20)),
        note="A cut changes the largest singular value, and so every weight that stays.",
    ),
)
