"""Genes that read the same numbers in another shape: grids, regroupings, repeats, images as tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import parameter
from niwaki.testing.fuzz.pool import ANY, IMAGE, TOKEN, Knobs, Size, Step, gene, plain

plain(
    IMAGE,
    {
        "flatten_space_and_back": lambda x, a, n, p: x.flatten(2).unflatten(2, x.shape[2:]),
        "flatten_all_and_back": lambda x, a, n, p: x.flatten(1).view(x.shape),
        "flatten_all_written": lambda x, a, n, p: x.flatten(1).reshape(-1, n, *x.shape[2:]),
        "space_for_channels": lambda x, a, n, p: x.flatten(2).transpose(1, 2).reshape(x.shape),
        "space_for_channels_view": lambda x, a, n, p: x.permute(0, 2, 3, 1).contiguous().view(x.shape),
        "height_for_channels": lambda x, a, n, p: x.transpose(1, 2) if p % 2 else x.movedim(1, 3),
        "rows_merged": lambda x, a, n, p: x.reshape(x.shape[0], n, -1, 1),
        "channels_into_rows": lambda x, a, n, p: (
            x.reshape(x.shape[0], n // 2, 2 * x.shape[2], x.shape[3]) if n % 2 == 0 and x.shape[2] < 6 else x
        ),
        "rows_into_channels": lambda x, a, n, p: (
            x.reshape(x.shape[0], 2 * x.shape[1], x.shape[2] // 2, x.shape[3]) if x.shape[2] % 2 == 0 and n <= 12 else x
        ),
        "batch_for_channels": lambda x, a, n, p: x.reshape(-1, *x.shape[2:])[: x.shape[0] * n].reshape(x.shape),
        "batch_folded": lambda x, a, n, p: F.avg_pool2d(x.reshape(-1, 1, *x.shape[2:]), 3, 1, 1).view(x.shape),
        "squeezed": lambda x, a, n, p: x.mean((2, 3), keepdim=True).squeeze().reshape(x.shape[0], -1, 1, 1) + x,
        "squeezed_written": lambda x, a, n, p: x * x.mean((2, 3)).squeeze().view(-1, n, 1, 1).tanh(),
        "strided_view": lambda x, a, n, p: x.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3),
        "windows": lambda x, a, n, p: (
            F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1) if p < 3 else F.unfold(x, 2).unsqueeze(-1)
        ),
        "unfold_dim": lambda x, a, n, p: x.unfold(2, 2, 1).sum(-1) if x.shape[2] > 2 else x,
    },
)

plain(
    TOKEN,
    {
        "swapped": lambda x, a, n, p: x.transpose(1, 2),
        "swapped_by_view": lambda x, a, n, p: x.reshape(x.shape[0], x.shape[2], x.shape[1]),
        "flatten_and_back": lambda x, a, n, p: x.flatten(1).view(x.shape[0], -1, x.shape[2]),
        "flatten_and_back_written": lambda x, a, n, p: x.flatten(1).unflatten(1, (-1, n)),
        "folded": lambda x, a, n, p: x.reshape(-1, x.shape[-1]).relu().view_as(x),
        "folded_written": lambda x, a, n, p: x.reshape(-1, n).relu().reshape(x.shape[0], -1, n),
        "pairs_of_tokens": lambda x, a, n, p: (
            x.reshape(x.shape[0], x.shape[1] // 2, 2 * x.shape[2]) if x.shape[1] % 2 == 0 and n <= 12 else x
        ),
        "features_into_tokens": lambda x, a, n, p: (
            x.reshape(x.shape[0], 2 * x.shape[1], -1) if n % 2 == 0 and x.shape[1] <= 8 else x
        ),
        "movedim": lambda x, a, n, p: x.movedim((0, 2), (2, 0)).permute(2, 1, 0),
        "t_by_einsum": lambda x, a, n, p: torch.einsum("btd->bdt", x),
        "unsqueezed": lambda x, a, n, p: x.unsqueeze(-1).unsqueeze(1).squeeze(1).squeeze(-1) + x.unsqueeze(2).squeeze(),
    },
)

plain(
    ANY,
    {
        "repeat": lambda x, a, n, p: x.repeat(*(2 if k == a else 1 for k in range(x.dim()))) if n <= 12 else x,
        "tile": lambda x, a, n, p: x.tile((1, 2, 1, 1) if a == 1 else (1, 1, 2)) if n <= 12 else x,
        "repeat_interleave": lambda x, a, n, p: x.repeat_interleave(2, a) if n <= 12 else x,
        "repeat_uneven": lambda x, a, n, p: (
            x.repeat_interleave(torch.arange(n) % 2 + 1, dim=a, output_size=n + n // 2) if n <= 12 else x
        ),
        "repeated_space": lambda x, a, n, p: x.repeat_interleave(2, 2 if a == 1 else 1) if x.shape[-2] < 6 else x,
        "expand_outer": lambda x, a, n, p: (
            x.unsqueeze(a).expand(*x.shape[:a], 2, *x.shape[a:]).flatten(a, a + 1) if n <= 12 else x
        ),
        "expand_inner": lambda x, a, n, p: (
            x.unsqueeze(a + 1).expand(*x.shape[: a + 1], 2, *x.shape[a + 1 :]).flatten(a, a + 1) if n <= 12 else x
        ),
        "expand_summed": lambda x, a, n, p: x.unsqueeze(a).expand(*[-1] * a, 3, *[-1] * (x.dim() - a)).mean(a),
        "stack_outer": lambda x, a, n, p: torch.stack([x, x.relu()], a).flatten(a, a + 1) if n <= 12 else x,
        "stack_inner": lambda x, a, n, p: torch.stack([x, x.relu()], a + 1).flatten(a, a + 1) if n <= 12 else x,
        "stack_mean": lambda x, a, n, p: torch.stack([x, x.tanh(), x * 2]).mean(0),
        "stack_taken": lambda x, a, n, p: torch.stack([x, x.sigmoid()], 1)[:, p % 2],
        "to_vectors_and_back": lambda x, a, n, p: x.unbind(0)[0].unsqueeze(0) + x,
        "view_two_then_three": lambda x, a, n, p: (
            x.unflatten(a, (2, -1)).relu().flatten(a, a + 1).unflatten(a, (3, -1)).flatten(a, a + 1)
            if n % 6 == 0
            else x
        ),
    },
    weight=0.8,
)


@gene(ANY, weight=4)
def _grid(size: Size, knobs: Knobs) -> nn.Module | None:
    """Features read as groups × members: reduced, weighed or rearranged by group, lengths written or left open."""
    groups, axis, width = knobs.divisor(size.width, 2), size.axis, size.width
    inner = knobs.of((groups, -1), (groups, width // groups), (-1, groups), (-1, width // groups))
    rows = groups if inner[0] in (groups,) else width // groups
    at = knobs.of(axis, axis + 1)
    tail = (1, 1) if size.image else ()
    shape = (rows, 1, *tail) if at == axis + 1 else (1, width // rows, *tail)
    steps = (
        lambda m, x: x.sum(at),
        lambda m, x: x.mean(at),
        lambda m, x: x.amax(at),
        lambda m, x: x.flatten(axis, axis + 1),
        lambda m, x: x.transpose(axis, axis + 1).flatten(axis, axis + 1),
        lambda m, x: (x * m.weight).flatten(axis, axis + 1),
        lambda m, x: (x - x.mean(at, keepdim=True)).flatten(axis, axis + 1),
        lambda m, x: x.softmax(at).flatten(axis, axis + 1),
        lambda m, x: (x * x.sum(at, keepdim=True).tanh()).flatten(axis, axis + 1),
        lambda m, x: x.flip(at).flatten(axis, axis + 1),
        lambda m, x: x.select(at, 0),
        lambda m, x: F.normalize(x, dim=at).flatten(axis, axis + 1),
    )
    step = knobs.of(*steps)
    return Step(lambda m, x: step(m, x.unflatten(axis, inner)), weight=parameter(*shape))


@gene(ANY, weight=2)
def _regrid(size: Size, knobs: Knobs) -> nn.Module | None:
    """Three factors in another order: (a, b, c) read as (b, a, c) and the like."""
    width, axis = size.width, size.axis
    if width % 4:
        return None
    shape = knobs.of((2, 2, -1), (2, -1, 2), (-1, 2, 2), (2, width // 4, 2))
    order = knobs.of((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1))

    def forward(m: Step, x: Tensor) -> Tensor:
        y = x.movedim(axis, -1)
        y = y.unflatten(-1, shape)
        lead = y.dim() - 3
        y = y.permute(*range(lead), *(lead + k for k in order)).flatten(-3)
        return y.movedim(-1, axis)

    return Step(forward)


@gene(ANY, weight=2)
def _grouped_linear(size: Size, knobs: Knobs) -> nn.Module | None:
    """A matrix for every group, by einsum or bmm, as in multi-head layers written by hand."""
    groups, axis, width = knobs.divisor(size.width, 2), size.axis, size.width
    inner, out, way = width // groups, knobs.of(2, 3, 1), knobs.below(4)
    weight = parameter(groups, inner, out)

    def forward(m: Step, x: Tensor) -> Tensor:
        w = m.get_parameter("weight")
        y = x.movedim(axis, -1)
        y = y.unflatten(-1, (groups, inner) if way % 2 else (w.shape[0], -1))
        y = torch.einsum("...gi,gio->...go", y, w) if way < 2 else (y.unsqueeze(-2) @ w).squeeze(-2)
        return y.flatten(-2).movedim(-1, axis)

    return Step(forward, weight=weight)


@gene(IMAGE, weight=3, gives=TOKEN)
def _to_tokens(size: Size, knobs: Knobs) -> nn.Module | None:
    """Pixels, patches, rows or channels become tokens."""
    c, h, w = size.dims
    way = knobs.below(6)
    steps = (
        lambda m, x: x.flatten(2).transpose(1, 2),
        lambda m, x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1]),
        lambda m, x: x.flatten(2),
        lambda m, x: x.permute(0, 2, 3, 1).flatten(1, 2).view(-1, h * w, c),
        lambda m, x: x.permute(0, 2, 1, 3).flatten(2),
        lambda m, x: x.permute(0, 2, 3, 1).flatten(2),
    )
    return Step(steps[way])


@gene(TOKEN, weight=2, gives=IMAGE)
def _to_image(size: Size, knobs: Knobs) -> nn.Module | None:
    """Tokens laid out in rows, or tokens × features as a picture."""
    t, d = size.dims
    rows = max(n for n in range(1, int(t**0.5) + 1) if t % n == 0)
    inner = knobs.divisor(d, 2)
    steps = (
        lambda m, x: x.transpose(1, 2).unflatten(2, (rows, -1)),
        lambda m, x: x.view(x.shape[0], rows, t // rows, x.shape[2]).permute(0, 3, 1, 2),
        lambda m, x: x.transpose(1, 2).reshape(-1, d, rows, t // rows),
        lambda m, x: x.unsqueeze(1),
        lambda m, x: x.unflatten(2, (inner, -1)).transpose(1, 2),
        lambda m, x: x.unflatten(2, (-1, inner)).permute(0, 2, 1, 3),
    )
    return Step(knobs.of(*steps))
