"""Genes that look across the features: reductions, orders, look-ups, and tensors made on the spot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import parameter
from niwaki.testing.fuzz.pool import ANY, IMAGE, TOKEN, Knobs, Size, Step, gene, plain


def column(values: Tensor, axis: int) -> Tensor:
    """One value a channel, shaped to meet the activations."""
    return values[:, None, None] if axis == 1 else values


plain(
    ANY,
    {
        "softmax": lambda x, a, n, p: x.softmax(a) * 3,
        "log_softmax": lambda x, a, n, p: F.log_softmax(x, a),
        "minus_mean": lambda x, a, n, p: x - x.mean(a, keepdim=True),
        "plus_sum": lambda x, a, n, p: x + 0.1 * x.sum(a, keepdim=True),
        "gate_by_sum": lambda x, a, n, p: x * x.sum(a, keepdim=True).sigmoid(),
        "gate_by_sum_of_sigmoid": lambda x, a, n, p: x * x.sigmoid().sum(a, keepdim=True).tanh(),
        "gate_by_max": lambda x, a, n, p: x * x.amax(a, keepdim=True).tanh(),
        "gate_by_max_of_relu": lambda x, a, n, p: x + x.relu().max(a, keepdim=True).values,
        "gate_by_std": lambda x, a, n, p: x / (x.std(a, keepdim=True) + 0.5) if n > 2 else x,
        "gate_by_norm": lambda x, a, n, p: x / (x.norm(dim=a, keepdim=True) + 0.5),
        "gate_by_prod": lambda x, a, n, p: x + x.tanh().prod(a, keepdim=True),
        "gate_by_logsumexp": lambda x, a, n, p: x * x.logsumexp(a, keepdim=True).tanh(),
        "gate_by_all": lambda x, a, n, p: x * x.sum().tanh(),
        "gate_by_mean_of_all": lambda x, a, n, p: x * x.mean().tanh(),
        "gate_by_count": lambda x, a, n, p: x * (x > 0).sum(a, keepdim=True) / 4,
        "mean_of_squares_written": lambda x, a, n, p: x * (x.square().sum(a, keepdim=True) / n + 0.1).rsqrt(),
        "sum_over_size": lambda x, a, n, p: x + x.sum(a, keepdim=True) / x.shape[a],
        "normalised": lambda x, a, n, p: F.normalize(x, dim=a, p=(2, 1)[p % 2]),
        "layer_norm_bare": lambda x, a, n, p: F.layer_norm(x, x.shape[-1:]),
        "layer_norm_written": lambda x, a, n, p: F.layer_norm(x.movedim(a, -1), (n,)).movedim(-1, a) if n > 1 else x,
        "cumsum": lambda x, a, n, p: x.cumsum(a) / 3,
        "cumsum_of_space": lambda x, a, n, p: x + x.cumsum(2 if a == 1 else 1) / 3,
        "cummax": lambda x, a, n, p: x.cummax(a).values,
        "sorted": lambda x, a, n, p: x.sort(a).values,
        "sorted_space": lambda x, a, n, p: x.sort(2 if a == 1 else 1, descending=True)[0],
        "top": lambda x, a, n, p: x.topk(min(2 + p, n), a).values,
        "ranks": lambda x, a, n, p: x * (x.argsort(a).argsort(a) / n),
        "winner": lambda x, a, n, p: x * F.one_hot(x.movedim(a, -1).argmax(-1), n).movedim(-1, a),
        "differences": lambda x, a, n, p: x.diff(dim=a) if n > 2 else x,
        "differences_padded": lambda x, a, n, p: x.diff(dim=a, prepend=x.narrow(a, 0, 1)),
        "index_list": lambda x, a, n, p: x[:, list(range(n))[::-1]] if a == 1 else x[..., list(range(0, n, 2))],
        "index_tensor": lambda x, a, n, p: x.index_select(a, torch.arange(n).roll(p)),
        "index_by_size": lambda x, a, n, p: x.index_select(a, torch.arange(x.shape[a]).flip(0)),
        "index_same": lambda x, a, n, p: x.index_select(a, torch.arange(x.shape[a])),
        "index_some": lambda x, a, n, p: x.index_select(a, torch.tensor([0, min(2, n - 1), n - 1])),
        "gathered": lambda x, a, n, p: x.gather(a, column(torch.arange(n).flip(0), a).expand_as(x)),
        "taken_along": lambda x, a, n, p: torch.take_along_dim(x, x.argsort(a), a),
        "masked_select": lambda x, a, n, p: (
            x[:, torch.arange(n) % 2 == 0] if a == 1 else x[:, :, torch.arange(n) % 3 > 0] if n > 1 else x
        ),
        "scattered": lambda x, a, n, p: torch.zeros_like(x).index_copy(a, torch.arange(n).flip(0), x),
        "index_added": lambda x, a, n, p: torch.zeros_like(x).index_add(a, torch.arange(n) // 2, x),
        "scatter_added": lambda x, a, n, p: torch.zeros_like(x).scatter_add(
            a, column(torch.arange(n) // 2, a).expand_as(x), x
        ),
        "times_arange": lambda x, a, n, p: x * column(torch.arange(x.shape[a]) / 4, a),
        "plus_arange_written": lambda x, a, n, p: x + column(torch.arange(n) / 4, a),
        "times_linspace": lambda x, a, n, p: x * column(torch.linspace(0.5, 1.5, x.shape[a]), a),
        "times_ones": lambda x, a, n, p: x * torch.ones(x.shape[a]).reshape(-1, 1, 1) if a == 1 else x * x.new_ones(n),
        "plus_zeros": lambda x, a, n, p: x + torch.zeros(x.shape, dtype=x.dtype),
        "plus_ones": lambda x, a, n, p: x + torch.ones_like(x),
        "plus_full": lambda x, a, n, p: x + column(torch.full((x.shape[a],), 0.3), a),
        "where_arange": lambda x, a, n, p: torch.where(column(torch.arange(x.shape[a]), a) < 2 + p, x, x * 0.2),
        "plus_constant": lambda x, a, n, p: x + column(torch.tensor([0.1 * k for k in range(n)]), a),
        "plus_noise_shaped": lambda x, a, n, p: x + torch.zeros_like(x).fill_(0.2),
        "ones_of_rows": lambda x, a, n, p: x + torch.ones(x.shape[0], *[1] * (x.dim() - 1), dtype=x.dtype),
        "sum_by_ones": lambda x, a, n, p: (
            (x.movedim(a, -1) @ torch.ones(x.shape[a], 1, dtype=x.dtype)).movedim(-1, a) + x
        ),
        "times_eye": lambda x, a, n, p: (x.movedim(a, -1) @ torch.eye(x.shape[a], dtype=x.dtype)).movedim(-1, a),
        "times_tril": lambda x, a, n, p: (
            x.movedim(a, -1) @ torch.ones(x.shape[a], x.shape[a], dtype=x.dtype).tril() / n
        ).movedim(-1, a),
        "tokens_sorted_by_first": lambda x, a, n, p: x * (x.select(a, 0).unsqueeze(a) > 0),
        "median": lambda x, a, n, p: x - x.median(a, keepdim=True).values,
        "quantile": lambda x, a, n, p: x - x.quantile(0.5, dim=a, keepdim=True),
        "var_mean": lambda x, a, n, p: (lambda v: (x - v[1]) / (v[0] + 0.1).sqrt())(
            torch.var_mean(x, a, correction=0, keepdim=True)
        ),
        "space_statistics": lambda x, a, n, p: (
            (lambda d: (x - x.mean(d, keepdim=True)) / (x.std(d, keepdim=True) + 0.1))((2, 3) if a == 1 else (1,))
            if x.shape[-2] > 1
            else x
        ),
    },
    weight=0.7,
)

plain(
    TOKEN,
    {
        "pooled_over_features": lambda x, a, n, p: F.avg_pool1d(x, 2) if n > 3 else x,
        "max_pooled_over_features": lambda x, a, n, p: F.max_pool1d(x, 3, 1, 1),
        "pooled_over_tokens": lambda x, a, n, p: F.adaptive_avg_pool1d(x.mT, 2).mT,
        "resampled_features": lambda x, a, n, p: F.interpolate(x, scale_factor=2) if n <= 12 else x,
        "causal_mean": lambda x, a, n, p: x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None],
        "sinusoids": lambda x, a, n, p: x + torch.sin(torch.arange(x.shape[1])[:, None] * torch.arange(x.shape[2])),
    },
    weight=0.7,
)


@gene(ANY, weight=1)
def _mixed_over_features(size: Size, knobs: Knobs) -> nn.Module:
    """A convolution or a linear layer that slides over features or places rather than mixing channels."""
    if size.image:
        return _volume(knobs)
    tokens = size.dims[0]
    if knobs.below(2):
        return nn.Conv1d(tokens, knobs.of(tokens, 4), 3, padding=1)
    return Step(lambda m, x: x + m.mix(x.mT).mT, mix=nn.Linear(tokens, tokens))


def _volume(knobs: Knobs) -> nn.Module:
    """Channels as depth of a volume."""
    conv = nn.Conv3d(1, knobs.of(1, 2), 3, padding=1)
    return Step(lambda m, x: m.conv(x.unsqueeze(1)).flatten(1, 2), conv=conv)


@gene(ANY, weight=2)
def _ordered_by_buffer(size: Size, knobs: Knobs) -> nn.Module:
    """Positions taken by a list that the model keeps."""
    axis, width, way = size.axis, size.width, knobs.below(5)
    order = torch.randperm(width, generator=torch.Generator().manual_seed(knobs.number()))
    steps: tuple[Any, ...] = (
        lambda m, x: x.index_select(axis, m.order),
        lambda m, x: x[:, m.order] if axis == 1 else x[..., m.order],
        lambda m, x: x[:, m.order[: x.shape[1]]] if axis == 1 else x[:, :, m.order],
        lambda m, x: x.gather(axis, column(m.order, axis).expand_as(x)),
        lambda m, x: x * column(m.scale[m.order], axis),
    )
    return Step(steps[way], order=order, scale=parameter(width))


@gene(ANY, weight=1)
def _values_read(size: Size, knobs: Knobs) -> nn.Module:
    """The forward looks at numbers, so that it cannot run on shapes alone."""
    axis, way = size.axis, knobs.below(4)
    steps: tuple[Any, ...] = (
        lambda m, x: x if x.abs().mean().item() >= 0 else x * 2,
        lambda m, x: x * (1 + x.abs().mean().item()),
        lambda m, x: x / max(x.abs().max().item(), 1.0),
        lambda m, x: x * (1.0 if bool((x.sum(axis) > -1e9).all()) else 2.0),
    )
    return Step(steps[way])


@gene(ANY, weight=1)
def _branch_on_size(size: Size, knobs: Knobs) -> nn.Module:
    """Python decides by a size: loops over channels, halves if even, another path for narrow layers."""
    axis, width, way = size.axis, size.width, knobs.below(6)
    steps: tuple[Any, ...] = (
        lambda m, x: x.flip(2 if axis == 1 else 1) if x.shape[axis] == width else x,
        lambda m, x: torch.stack([x.select(axis, k) for k in range(x.shape[axis])], axis),
        lambda m, x: torch.cat([x.narrow(axis, k, 1) * (k + 1) for k in range(x.shape[axis])], axis),
        lambda m, x: torch.cat(x.chunk(2, axis)[::-1], axis) if x.shape[axis] % 2 == 0 else x,
        lambda m, x: x * 2 if x.shape[axis] > width // 2 else x,
        lambda m, x: x.relu() if x.shape[axis] >= width - 1 else x.tanh(),
    )
    return Step(steps[way])


@gene(IMAGE, weight=1)
def _coordinates(size: Size, knobs: Knobs) -> nn.Module:
    """Where a pixel lies, concatenated or added."""
    _, h, w = size.dims
    way = knobs.below(2)

    def forward(m: Any, x: Tensor) -> Tensor:
        rows = torch.linspace(-1, 1, h, dtype=x.dtype)[None, None, :, None].expand(x.shape[0], 1, h, w)
        return torch.cat([x, rows], 1) if way == 0 else x + rows

    return Step(forward)
