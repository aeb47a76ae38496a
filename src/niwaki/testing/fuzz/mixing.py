"""Genes in which values meet: residuals, gates, concatenations, products of activations, and stacks of branches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import WIDTHS, parameter, pointwise
from niwaki.testing.fuzz.pool import ANY, IMAGE, TOKEN, Knobs, Size, Step, gene, plain


class Save(nn.Module):
    """Puts the activations aside."""


class Swap(nn.Module):
    """Exchanges the activations with those put aside last."""


class Join(nn.Module):
    """Takes back what was put aside last and joins it with what is at hand, through a layer if the shapes differ."""

    def __init__(self, way: str, axis: int, layer: nn.Module | None) -> None:
        super().__init__()
        self.way, self.axis, self.layer = way, axis, layer

    def forward(self, x: Tensor, aside: Tensor) -> Tensor:
        other = aside if self.layer is None else self.layer(aside)
        if other.dim() == 4 and other.shape[2:] != x.shape[2:]:
            other = F.interpolate(other, size=x.shape[2:])
        if other.dim() == 3 and other.shape[1] != x.shape[1]:
            other = other.mean(1, keepdim=True).expand(-1, x.shape[1], -1)
        return JOINS[self.way](x, other, self.axis)


JOINS: dict[str, Any] = {
    "add": lambda x, y, a: x + y,
    "cat": lambda x, y, a: torch.cat([x, y], a),
    "mul": lambda x, y, a: x * y.tanh(),
    "gate": lambda x, y, a: x * y.sigmoid(),
    "sub": lambda x, y, a: x.sub(y, alpha=0.5),
    "cat_first": lambda x, y, a: torch.cat([y, x], a),
    "max": lambda x, y, a: torch.maximum(x, y),
    "stack": lambda x, y, a: torch.stack([x, y], 0).sum(0),
    "where": lambda x, y, a: torch.where(x > 0, x, y),
    "interleave": lambda x, y, a: torch.stack([x, y], a + 1).flatten(a, a + 1),
    "div": lambda x, y, a: x / (1 + y.abs()),
    "halves": lambda x, y, a: torch.cat([x.chunk(2, a)[0], y.chunk(2, a)[-1]], a),
}


@gene(ANY, weight=5)
def _save(size: Size, knobs: Knobs) -> nn.Module:
    return Save()


@gene(ANY, weight=2)
def _swap(size: Size, knobs: Knobs) -> nn.Module:
    return Swap()


@gene(ANY, weight=6)
def _join(size: Size, knobs: Knobs) -> nn.Module:
    return Join(knobs.of(*JOINS), size.axis, None)


def fitted(join: nn.Module, size: Size, aside: Size) -> nn.Module | None:
    """A join of two sizes, with the layer that it needs between them. None for an image and tokens."""
    assert isinstance(join, Join)
    if size.image != aside.image:
        return None
    if aside.width != size.width and not join.way.startswith("cat"):
        join.layer = pointwise(aside, size.width)
    return join


plain(
    ANY,
    {
        "cat_itself": lambda x, a, n, p: torch.cat([x, x], a) if n <= 12 else x,
        "cat_activated": lambda x, a, n, p: torch.cat([x.relu(), (-x).relu()], a) if n <= 12 else x,
        "cat_sigmoid": lambda x, a, n, p: torch.cat([x, x.sigmoid()], a) if n <= 12 else x,
        "cat_zeros": lambda x, a, n, p: torch.cat([x, torch.zeros_like(x)], a) if n <= 12 else x,
        "cat_ones": lambda x, a, n, p: torch.cat([x, torch.ones_like(x.narrow(a, 0, 1))], a),
        "cat_part": lambda x, a, n, p: torch.cat([x, x.narrow(a, 0, max(n // 3, 1))], a) if n <= 12 else x,
        "cat_space": lambda x, a, n, p: torch.cat([x, x.tanh()], 2 if a == 1 else 1) if x.shape[-2] < 6 else x,
        "cat_mean": lambda x, a, n, p: torch.cat([x, x.mean(a, keepdim=True)], a),
        "cat_of_three": lambda x, a, n, p: torch.cat([x, x * 2, x.tanh()], a).chunk(3, a)[p % 3],
        "add_itself": lambda x, a, n, p: x + x + x.relu(),
        "add_mean_of_space": lambda x, a, n, p: x + x.mean((2, 3) if a == 1 else 1, keepdim=True),
        "add_max_of_space": lambda x, a, n, p: x + x.amax((2, 3) if a == 1 else 1, keepdim=True),
        "softmax_of_space": lambda x, a, n, p: x * x.softmax(-1 if a == 1 else 1),
    },
)

plain(
    TOKEN,
    {
        "gram": lambda x, a, n, p: x @ x.transpose(1, 2),
        "gram_features": lambda x, a, n, p: x.transpose(1, 2) @ x,
        "gram_applied": lambda x, a, n, p: torch.bmm(torch.bmm(x, x.mT).tanh(), x),
        "gram_features_applied": lambda x, a, n, p: x @ (x.mT @ x).tanh(),
        "gram_einsum": lambda x, a, n, p: torch.einsum("btd,bsd->bts", x, x.tanh()),
        "gram_einsum_ellipsis": lambda x, a, n, p: torch.einsum("...td,...sd->...ts", x, x),
        "einsum_features": lambda x, a, n, p: torch.einsum("btd,bte->bde", x, x),
        "einsum_elementwise": lambda x, a, n, p: torch.einsum("btd,btd->btd", x, x.tanh()),
        "einsum_summed": lambda x, a, n, p: x * torch.einsum("btd->bt", x).unsqueeze(-1).tanh(),
        "einsum_ellipsis_summed": lambda x, a, n, p: x * torch.einsum("...d->...", x).unsqueeze(-1).tanh(),
        "einsum_implicit": lambda x, a, n, p: torch.einsum("btd,bsd", x.relu(), x),
        "einsum_diagonal": lambda x, a, n, p: torch.einsum("btt->bt", x @ x.mT).unsqueeze(-1) + x,
        "diagonal": lambda x, a, n, p: torch.diagonal(x @ x.mT, dim1=1, dim2=2).unsqueeze(-1) * x.tanh(),
        "softmax_gram": lambda x, a, n, p: (x @ x.mT / n**0.5).softmax(-1) @ x,
        "softmax_gram_by_size": lambda x, a, n, p: (x @ x.mT / x.shape[-1] ** 0.5).softmax(-1) @ x,
        "softmax_gram_features": lambda x, a, n, p: x @ (x.mT @ x).softmax(-1),
        "linear_attention": lambda x, a, n, p: F.elu(x).exp() @ (F.elu(x).exp().mT @ x),
        "distances": lambda x, a, n, p: -torch.cdist(x, x * 0.5 + 0.3),
        "outer": lambda x, a, n, p: (x.unsqueeze(-1) * x.unsqueeze(-2)).sum(-1),
        "outer_flat": lambda x, a, n, p: (x.unsqueeze(-1) * x[..., :2].unsqueeze(-2)).flatten(2) if 2 <= n <= 12 else x,
        "baddbmm": lambda x, a, n, p: torch.baddbmm(x, (x @ x.mT).tanh(), x),
        "matmul_broadcast": lambda x, a, n, p: x @ x[0].mT,
        "cosines": lambda x, a, n, p: F.normalize(x, dim=-1) @ F.normalize(x, dim=-1).mT,
        "cosine_similarity": lambda x, a, n, p: x * F.cosine_similarity(x, x.tanh() + 0.2, dim=-1).unsqueeze(-1),
        "pair_differences": lambda x, a, n, p: (x.unsqueeze(2) - x.unsqueeze(1)).abs().mean(2),
    },
    weight=0.7,
)


@gene(ANY, weight=4)
def _squeeze_excite(size: Size, knobs: Knobs) -> nn.Module:
    """Squeeze and excitation, with linear layers or 1×1 convolutions, or a bare convolution over channels."""
    c, image, way = size.width, size.image, knobs.below(5)
    inner = knobs.of(4, 2, 3)
    opens: Any = knobs.of(torch.sigmoid, F.hardsigmoid, torch.tanh, lambda t: t.softmax(1))
    space = (2, 3) if image else 1
    down, up = (
        (nn.Conv2d(c, inner, 1), nn.Conv2d(inner, c, 1)) if way == 0 else (nn.Linear(c, inner), nn.Linear(inner, c))
    )
    if way == 4:
        return Step(
            lambda m, x: (
                x
                * opens(
                    m.conv(x.mean(space).unsqueeze(1)).squeeze(1).view(-1, c, *size.column[1:])
                    if image
                    else m.conv(x.mean(1).unsqueeze(1))
                )
            ),
            conv=nn.Conv1d(1, 1, 3, padding=1),
        )

    def forward(m: Any, x: Tensor) -> Tensor:
        if way == 0 and image:
            return x * opens(m.up(F.relu(m.down(F.adaptive_avg_pool2d(x, 1)))))
        pooled = (x.amax(space) if way == 2 else x.mean(space)).flatten(1)
        gate = opens(m.up(F.silu(m.down(pooled))))
        if way == 3:
            gate = gate.view(x.shape[0], c)
        return x * (gate[:, :, None, None] if image else gate.unsqueeze(1))

    if way == 0 and not image:
        down, up = nn.Linear(c, inner), nn.Linear(inner, c)
    return Step(forward, down=down, up=up)


@gene(IMAGE, weight=1)
def _spatial_gate(size: Size, knobs: Knobs) -> nn.Module:
    """The gate of CBAM: mean and maximum over channels make a map."""
    conv, way = nn.Conv2d(2, 1, 3, padding=1), knobs.below(2)

    def forward(m: Any, x: Tensor) -> Tensor:
        top = x.max(1, keepdim=True)[0] if way else x.amax(1, keepdim=True)
        return x * torch.sigmoid(m.conv(torch.cat([x.mean(1, keepdim=True), top], 1)))

    return Step(forward, conv=conv)


@gene(ANY, weight=3)
def _branches(size: Size, knobs: Knobs) -> nn.Module:
    """Two layers side by side, concatenated or stacked, unequal or equal."""
    axis, first = size.axis, knobs.of(*WIDTHS)
    second = knobs.of(first, 3, 5)
    way = knobs.below(4) if first == second else 0
    left, right = pointwise(size, first), pointwise(size, second)
    steps = (
        lambda m, x: torch.cat([m.left(x), m.right(x).relu()], axis),
        lambda m, x: torch.stack([m.left(x), m.right(x)], axis).sum(axis),
        lambda m, x: torch.stack([m.left(x), m.right(x)], axis + 1).flatten(axis, axis + 1),
        lambda m, x: torch.stack([m.left(x), m.right(x)], axis).flatten(axis, axis + 1),
    )
    return Step(steps[way], left=left, right=right)


@gene(ANY, weight=2)
def _dense_block(size: Size, knobs: Knobs) -> nn.Module:
    """Each layer reads all that came before it."""
    axis, grow, count = size.axis, knobs.of(2, 3, 4), knobs.of(1, 2)
    sizes = [size.width + grow * k for k in range(count)]
    layers = nn.ModuleList(
        pointwise(Size((n, *size.dims[1:]) if size.image else (size.dims[0], n)), grow) for n in sizes
    )

    def forward(m: Any, x: Tensor) -> Tensor:
        for layer in m.layers:
            x = torch.cat([x, layer(x).relu()], axis)
        return x

    return Step(forward, layers=layers)


@gene(ANY, weight=2)
def _res2(size: Size, knobs: Knobs) -> nn.Module | None:
    """Res2Net: parts that pass results on from one to the next."""
    parts = knobs.of(2, 3, 4)
    if size.width % parts:
        return None
    axis, each = size.axis, size.width // parts
    small = Size((each, *size.dims[1:]) if size.image else (size.dims[0], each))
    layers = nn.ModuleList(pointwise(small, each) for _ in range(parts - 1))
    written = knobs.below(2)

    def forward(m: Any, x: Tensor) -> Tensor:
        first, *rest = x.split(each, axis) if written else x.chunk(parts, axis)
        done = [first]
        for layer, piece in zip(m.layers, rest, strict=True):
            done.append(layer(piece + done[-1]))
        return torch.cat(done, axis)

    return Step(forward, layers=layers)


@gene(ANY, weight=1)
def _bilinear(size: Size, knobs: Knobs) -> nn.Module:
    out, axis = knobs.of(3, 4), size.axis
    bilinear = nn.Bilinear(size.width, size.width, out)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = x.movedim(axis, -1)
        return m.bilinear(y, y.tanh()).movedim(-1, axis)

    return Step(forward, bilinear=bilinear)


@gene(ANY, weight=1)
def _prototypes(size: Size, knobs: Knobs) -> nn.Module:
    """Features compared with learned prototypes: cosines, distances, a soft codebook."""
    count, axis, way = knobs.of(3, 5), size.axis, knobs.below(4)
    table = parameter(count, size.width)
    steps = (
        lambda y, w: F.normalize(y, dim=-1) @ F.normalize(w, dim=-1).t(),
        lambda y, w: -(y.unsqueeze(-2) - w).square().sum(-1),
        lambda y, w: (y @ w.t()).softmax(-1) @ w,
        lambda y, w: F.linear(y, w).relu(),
    )
    return Step(lambda m, x: steps[way](x.movedim(axis, -1), m.table).movedim(-1, axis), table=table)
