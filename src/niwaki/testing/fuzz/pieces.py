"""Genes that take the features apart, pad or reorder them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import pointwise
from niwaki.testing.fuzz.pool import ANY, IMAGE, TOKEN, Knobs, Size, Step, gene, plain


def every(x: Tensor, axis: int, start: int, step: int) -> Tensor:
    """Each ``step``-th position of an axis, by slicing."""
    return x[:, start::step] if axis == 1 else x[..., start::step]


def part(x: Tensor, axis: int, start: int | None, stop: int | None) -> Tensor:
    """A slice of an axis."""
    return x[:, start:stop] if axis == 1 else x[:, :, start:stop]


plain(
    ANY,
    {
        "halves_swapped": lambda x, a, n, p: torch.cat(x.chunk(2, a)[::-1], a),
        "chunks_multiplied": lambda x, a, n, p: (lambda c: c[0] * c[-1].tanh())(x.chunk(2, a)),
        "chunks_added": lambda x, a, n, p: torch.stack(x.chunk(2 + p % 3, a)).sum(0) if n % (2 + p % 3) == 0 else x,
        "first_chunk": lambda x, a, n, p: x.chunk(2 + p % 2, a)[0],
        "last_chunk": lambda x, a, n, p: x.chunk(2 + p % 2, a)[-1],
        "half_activated": lambda x, a, n, p: (lambda c: torch.cat([c[0].relu(), *c[1:]], a))(x.chunk(2, a)),
        "half_scaled": lambda x, a, n, p: (lambda c: torch.cat([c[0] * 2, *c[1:]], a))(x.chunk(2 + p % 2, a)),
        "split_by_size": lambda x, a, n, p: torch.cat(x.split(max(x.shape[a] // 2, 1), a)[::-1], a),
        "split_written": lambda x, a, n, p: torch.cat(x.split(max(n // 2, 1), a)[::-1], a),
        "split_uneven": lambda x, a, n, p: torch.cat(x.split([1 + p % 2, n - 1 - p % 2], a)[::-1], a),
        "split_uneven_by_size": lambda x, a, n, p: (
            lambda q: torch.cat([x.split([q, x.shape[a] - q], a)[1], x.split([q, x.shape[a] - q], a)[0] * 2], a)
        )(x.shape[a] // 3 + 1),
        "split_uneven_parts": lambda x, a, n, p: x.split([2, n - 2], a)[p % 2],
        "split_of_two": lambda x, a, n, p: torch.cat([t * (k + 1) for k, t in enumerate(x.split(2, a))], a),
        "split_three": lambda x, a, n, p: (lambda c: torch.cat([c[1], c[0], *c[2:]], a))(x.tensor_split(3, a)),
        "tensor_split_at": lambda x, a, n, p: torch.cat(x.tensor_split([2], a)[::-1], a),
        "unbind_pairs": lambda x, a, n, p: (
            (lambda u: u[0] * u[1].sigmoid())(x.unflatten(a, (2, -1)).unbind(a)) if n % 2 == 0 else x
        ),
        "unbind_inner_pairs": lambda x, a, n, p: (
            (lambda u: u[0] - 0.5 * u[1])(x.unflatten(a, (-1, 2)).unbind(a + 1)) if n % 2 == 0 else x
        ),
        "unbind_all": lambda x, a, n, p: torch.stack(x.unbind(a)[::-1], a),
        "head_written": lambda x, a, n, p: x.narrow(a, 0, max(n // 2, 1)),
        "tail_written": lambda x, a, n, p: part(x, a, max(n // 2, 1), None) if n > 1 else x,
        "head_by_size": lambda x, a, n, p: part(x, a, None, max(x.shape[a] // 2, 1)),
        "tail_by_size": lambda x, a, n, p: part(x, a, x.shape[a] // 2, None),
        "last_two": lambda x, a, n, p: part(x, a, -2, None),
        "but_the_last": lambda x, a, n, p: part(x, a, None, -1) if n > 2 else x,
        "but_the_first": lambda x, a, n, p: part(x, a, 1, None) if n > 2 else x,
        "evens": lambda x, a, n, p: every(x, a, 0, 2),
        "evens_and_odds": lambda x, a, n, p: every(x, a, 0, 2) + every(x, a, 1, 2) if n % 2 == 0 else x,
        "odds_first": lambda x, a, n, p: torch.cat([every(x, a, 1, 2), every(x, a, 0, 2)], a),
        "strided_parts": lambda x, a, n, p: torch.cat([every(x, a, k, 3) for k in range(3) if k < n], a),
        "neighbours_added": lambda x, a, n, p: part(x, a, 1, None) + part(x, a, None, -1) if n > 2 else x,
        "thirds": lambda x, a, n, p: torch.cat(
            [part(x, a, 0, n // 3), 2 * part(x, a, n // 3, 2 * n // 3), part(x, a, 2 * n // 3, None)], a
        ),
        "whole_slice": lambda x, a, n, p: part(x, a, 0, n) + part(x, a, None, 10**6),
        "one_taken": lambda x, a, n, p: x + x.select(a, p % n).unsqueeze(a),
        "one_broadcast": lambda x, a, n, p: x * x.narrow(a, n - 1, 1).sigmoid(),
        "ellipsis_half": lambda x, a, n, p: x[..., : x.shape[-1] // 2 or 1] if a == 2 else x[..., : x.shape[-1]],
        "flip": lambda x, a, n, p: x.flip(a),
        "roll": lambda x, a, n, p: x.roll(1 + p, a),
        "roll_half": lambda x, a, n, p: torch.roll(x, x.shape[a] // 2, a),
        "flip_added": lambda x, a, n, p: x + x.flip(a),
        "flip_space": lambda x, a, n, p: x.flip(2 if a == 1 else 1).roll(1, 2 if a == 1 else 1),
        "flip_all": lambda x, a, n, p: x.flip((1, 2)),
        "pad_channels": lambda x, a, n, p: F.pad(x, (0, 0) * (x.dim() - 1 - a) + (p % 3, 1 + p // 3)),
        "pad_channels_one": lambda x, a, n, p: F.pad(x, (0, 0) * (x.dim() - 1 - a) + (1, p % 2), value=1.0),
        "crop_channels": lambda x, a, n, p: F.pad(x, (0, 0) * (x.dim() - 1 - a) + (-1, p % 2)) if n > 2 else x,
        "pad_to_written": lambda x, a, n, p: F.pad(x, (0, 0) * (x.dim() - 1 - a) + (0, n + 2 - x.shape[a])),
        "pad_to_even": lambda x, a, n, p: F.pad(x, (0, 0) * (x.dim() - 1 - a) + (0, x.shape[a] % 2)),
        "pad_features_like_space": lambda x, a, n, p: F.pad(x, (1, 1), mode="reflect") if x.shape[-1] > 2 else x,
        "pad_features_circular": lambda x, a, n, p: F.pad(x, (1, 1), mode=("circular", "replicate")[p % 2]),
    },
    weight=0.8,
)

plain(
    IMAGE,
    {
        "pad_space": lambda x, a, n, p: F.pad(x, (1, 0, 0, 1), value=0.5 * (p % 2)),
        "pad_all": lambda x, a, n, p: F.pad(x, (1, 1, 0, 0, 1, 0)),
        "crop_space": lambda x, a, n, p: x[:, :, 1:, :-1] if min(x.shape[2:]) > 2 else x,
        "pixel_shuffle": lambda x, a, n, p: F.pixel_shuffle(x, 2) if n % 4 == 0 and x.shape[2] <= 5 else x,
        "pixel_unshuffle": lambda x, a, n, p: (
            F.pixel_unshuffle(x, 2) if x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0 and n <= 8 else x
        ),
        "shift_channels": lambda x, a, n, p: torch.cat([x[:, : n // 2].roll(1, 2), x[:, n // 2 :].roll(1, 3)], 1),
        "shift_chunks": lambda x, a, n, p: torch.cat([c.roll(k, 2) for k, c in enumerate(x.chunk(3, 1))], 1),
        "rotate": lambda x, a, n, p: x.rot90(1, (2, 3)),
    },
)

plain(
    TOKEN,
    {
        "first_token_added": lambda x, a, n, p: x + x[:, :1],
        "token_dropped": lambda x, a, n, p: x[:, 1:] if x.shape[1] > 2 else x,
        "token_shift": lambda x, a, n, p: F.pad(x, (0, 0, 1, -1)),
        "token_shift_half": lambda x, a, n, p: torch.cat([x[..., : n // 2].roll(1, 1), x[..., n // 2 :]], -1),
        "tokens_every_other": lambda x, a, n, p: x[:, ::2] + x[:, -1:],
        "tokens_merged": lambda x, a, n, p: (
            torch.cat([x[:, 0::2], x[:, 1::2]], -1) if x.shape[1] % 2 == 0 and n <= 12 else x
        ),
        "features_permuted": lambda x, a, n, p: x.roll((1, 1), (1, 2)),
    },
)


@gene(ANY, weight=2)
def _channel_shuffle(size: Size, knobs: Knobs) -> nn.Module | None:
    groups, axis, width, way = knobs.divisor(size.width, 2), size.axis, size.width, knobs.below(4)
    if way == 3:
        return nn.ChannelShuffle(groups) if size.image else None
    inner = (groups, -1) if way == 0 else (groups, width // groups) if way == 1 else (-1, groups)
    return Step(lambda m, x: x.unflatten(axis, inner).transpose(axis, axis + 1).flatten(axis, axis + 1))


@gene(ANY, weight=3)
def _part_passes(size: Size, knobs: Knobs) -> nn.Module | None:
    """One part goes through a layer, the other passes by: cross-stage-partial, ghost and partial convolutions."""
    if size.width < 4:
        return None
    axis, width, way = size.axis, size.width, knobs.below(5)
    first = knobs.of(width // 2, width // 4 or 1, width // 2 + 1)
    first = first if way else width // 2
    kept = Size((first, *size.dims[1:]) if size.image else (size.dims[0], first))
    layer = pointwise(kept, first)

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        if way == 0 and width % 2 == 0:
            left, right = x.chunk(2, axis)
        elif way == 1:
            left, right = x.split([first, width - first], axis)
        elif way == 2:
            left, right = x.split([first, x.shape[axis] - first], axis)
        else:
            left, right = part(x, axis, None, first), part(x, axis, first, None)
        return left, right

    def forward(m: Step, x: Tensor) -> Tensor:
        left, right = parts(x)
        done = m.get_submodule("layer")(left)
        return torch.cat([right, done] if way == 4 else [done, right], axis)

    return Step(forward, layer=layer)


@gene(IMAGE, weight=1)
def _ghost(size: Size, knobs: Knobs) -> nn.Module:
    """Half of the channels are cheap copies of the other half, cut to a written width."""
    out = knobs.of(6, 8, 5)
    main = nn.Conv2d(size.width, (out + 1) // 2, 1)
    cheap = nn.Conv2d((out + 1) // 2, (out + 1) // 2, 3, padding=1, groups=(out + 1) // 2)

    def forward(m: Step, x: Tensor) -> Tensor:
        y = m.get_submodule("main")(x)
        return torch.cat([y, m.get_submodule("cheap")(y)], 1)[:, :out]

    return Step(forward, main=main, cheap=cheap)


@gene(IMAGE, weight=1)
def _patches_by_slices(size: Size, knobs: Knobs) -> nn.Module | None:
    """Space to depth, written with slices as YOLO's focus layer does."""
    if size.dims[1] % 2 or size.dims[2] % 2 or size.width > 8:
        return None
    return Step(lambda m, x: torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1))
