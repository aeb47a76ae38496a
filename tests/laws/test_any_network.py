"""Cut equals masked on networks that nobody drew: small CNNs of random blocks and widths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from niwaki.testing import laws
from niwaki.testing.zoo.nursery import images, planted

Plan = tuple[tuple[str, int], ...]
KINDS = ("plain", "normed", "residual", "projected", "concat", "depthwise", "gated")


class Block(nn.Module):
    """One block of a kind; ``out`` tells how many channels leave it."""

    def __init__(self, kind: str, width: int, wish: int) -> None:
        super().__init__()
        self.kind = kind
        self.out = {"residual": width, "depthwise": width, "gated": width, "concat": width + wish}.get(kind, wish)
        inner = wish if kind == "concat" else self.out
        groups = width if kind == "depthwise" else 1
        self.conv = nn.Conv2d(width, inner, 3, padding=1, groups=groups, bias=kind != "normed")
        self.norm = nn.BatchNorm2d(inner) if kind in ("normed", "residual", "depthwise") else nn.Identity()
        self.side = nn.Conv2d(width, self.out, 1) if kind in ("projected", "gated") else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(x)))
        if self.kind == "concat":
            return torch.cat([x, y], dim=1)
        if self.kind == "gated":
            return y * torch.sigmoid(self.side(x))
        return y + self.side(x) if self.kind in ("residual", "projected") else y


class Network(nn.Module):
    """A stem, blocks and a head."""

    def __init__(self, stem: int, plan: Plan, flat: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, stem, 3, padding=1)
        blocks: list[Block] = []
        for kind, wish in plan:
            blocks.append(Block(kind, blocks[-1].out if blocks else stem, wish))
        self.blocks = nn.Sequential(*blocks)
        self.flat = flat
        self.fc = nn.Linear((blocks[-1].out if blocks else stem) * (16 if flat else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        return self.fc(x.flatten(1) if self.flat else x.mean((2, 3)))


WIDTHS = st.integers(2, 7)
plans = st.lists(st.tuples(st.sampled_from(KINDS), WIDTHS), min_size=1, max_size=4).map(tuple)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(stem=WIDTHS, plan=plans, flat=st.booleans())
def test_cut_equals_masked_on_any_network(stem: int, plan: Plan, flat: bool) -> None:
    model = planted(Network, stem, plan, flat)()
    assert laws.cut_equals_masked(model, images(3, 4)(), ratios=(0.2, 0.6), seeds=(0,)) is None
