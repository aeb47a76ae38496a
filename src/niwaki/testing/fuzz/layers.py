"""Genes with weights that make channels: convolutions, linear layers, norms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.pool import ANY, IMAGE, TOKEN, Knobs, Size, Step, gene

WIDTHS = (4, 6, 8, 12, 5, 9)


def parameter(*shape: int) -> nn.Parameter:
    """A parameter; its values are drawn when the network is built."""
    return nn.Parameter(torch.zeros(shape))


def pointwise(size: Size, out: int) -> nn.Module:
    """The layer that mixes features at every place alike."""
    return nn.Conv2d(size.width, out, 1) if size.image else nn.Linear(size.width, out)


@gene(IMAGE, weight=32)
def _conv(size: Size, knobs: Knobs) -> nn.Module:
    kernel = knobs.of(3, 1)
    stride = knobs.of(1, 1, 2) if min(size.dims[1:]) >= 4 else 1
    dilation = knobs.of(1, 1, 2) if kernel == 3 else 1
    mode: Any = knobs.of("zeros", "zeros", "circular", "reflect") if min(size.dims[1:]) > 2 else "zeros"
    padding = dilation * (kernel // 2)
    return nn.Conv2d(
        size.width, knobs.of(*WIDTHS), kernel, stride, padding, dilation, bias=knobs.of(True, False), padding_mode=mode
    )


@gene(IMAGE, weight=5)
def _grouped_conv(size: Size, knobs: Knobs) -> nn.Module:
    groups = knobs.divisor(size.width, 2)
    return nn.Conv2d(size.width, groups * knobs.of(2, 1, 3), knobs.of(1, 3), padding="same", groups=groups)


@gene(IMAGE, weight=4)
def _depthwise(size: Size, knobs: Knobs) -> nn.Module:
    return nn.Conv2d(size.width, size.width * knobs.of(1, 1, 2), 3, padding=1, groups=size.width)


@gene(IMAGE, weight=3)
def _transposed_conv(size: Size, knobs: Knobs) -> nn.Module:
    groups = knobs.of(1, 1, knobs.divisor(size.width))
    stride = knobs.of(1, 2)
    out = groups * knobs.of(2, 4, 3, 1)
    return nn.ConvTranspose2d(size.width, out, 2 * stride - 1, stride, stride - 1, output_padding=0, groups=groups)


@gene(IMAGE, weight=2)
def _separable(size: Size, knobs: Knobs) -> nn.Module:
    inner = size.width * knobs.of(2, 1)
    act = knobs.of(nn.ReLU6(), nn.Hardswish(), nn.SiLU())
    return nn.Sequential(
        nn.Conv2d(size.width, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        act,
        nn.Conv2d(inner, inner, 3, padding=1, groups=inner),
        nn.BatchNorm2d(inner),
        act,
        nn.Conv2d(inner, knobs.of(*WIDTHS), 1),
    )


@gene(TOKEN, weight=4)
def _conv1d(size: Size, knobs: Knobs) -> nn.Module:
    groups = knobs.of(1, 1, size.width, knobs.divisor(size.width))
    out = groups * knobs.of(1, 2) if groups > 1 else knobs.of(*WIDTHS)
    conv = nn.Conv1d(size.width, out, knobs.of(3, 1), padding="same", groups=groups)
    return Step(lambda m, x: m.conv(x.transpose(1, 2)).transpose(1, 2), conv=conv)


@gene(TOKEN, weight=1)
def _transposed_conv1d(size: Size, knobs: Knobs) -> nn.Module:
    groups = knobs.of(1, knobs.divisor(size.width))
    conv = nn.ConvTranspose1d(size.width, groups * knobs.of(2, 3), 3, padding=1, groups=groups)
    return Step(lambda m, x: m.conv(x.mT).mT, conv=conv)


@gene(TOKEN, weight=32)
def _linear(size: Size, knobs: Knobs) -> nn.Module:
    return nn.Linear(size.width, knobs.of(*WIDTHS), bias=knobs.of(True, False))


@gene(IMAGE, weight=2)
def _linear_channels_last(size: Size, knobs: Knobs) -> nn.Module:
    inner = nn.Linear(size.width, knobs.of(*WIDTHS))
    if knobs.below(2):
        return Step(lambda m, x: m.inner(x.movedim(1, -1)).movedim(-1, 1), inner=inner)
    return Step(lambda m, x: m.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), inner=inner)


@gene(ANY, weight=4)
def _bottleneck(size: Size, knobs: Knobs) -> nn.Module:
    inner = knobs.of(*WIDTHS)
    outer = pointwise(Size((inner, *size.dims[1:]) if size.image else (size.dims[0], inner)), size.width)
    act: Any = knobs.of(F.relu, F.gelu, torch.sigmoid, F.softplus, torch.tanh)
    scale = knobs.of(1.0, 0.5)
    return Step(lambda m, x: x + scale * m.up(act(m.down(x))), down=pointwise(size, inner), up=outer)


@gene(ANY, weight=3)
def _gated_unit(size: Size, knobs: Knobs) -> nn.Module:
    """The feed-forward of today's language models: one half opens the other, split in several ways."""
    inner, axis = knobs.of(4, 6, 8), size.axis
    both = pointwise(size, 2 * inner)
    back = pointwise(Size((inner, *size.dims[1:]) if size.image else (size.dims[0], inner)), knobs.of(*WIDTHS))
    way = knobs.below(5)

    def halves(x: Tensor) -> tuple[Tensor, ...]:
        if way == 0:
            return x.chunk(2, axis)
        if way == 1:
            return x.split(x.shape[axis] // 2, axis)
        if way == 2:
            return x.split([inner, inner], axis)
        if way == 3:
            return x.unflatten(axis, (2, -1)).unbind(axis)
        return x.narrow(axis, 0, inner), x.narrow(axis, inner, inner)

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = halves(m.both(x))
        return m.back(F.silu(left) * right)

    return Step(forward, both=both, back=back)


@gene(ANY, weight=1)
def _bare_product(size: Size, knobs: Knobs) -> nn.Module:
    """A matrix that is a bare parameter, either way up."""
    out = knobs.of(*WIDTHS)
    weight = parameter(out, size.width)
    way = knobs.below(4)
    equation = "bchw,oc->bohw" if size.image else "btd,od->bto"
    if way == 0:
        return Step(lambda m, x: torch.einsum(equation, x, m.weight), weight=weight)
    if size.image:
        return Step(lambda m, x: (m.weight @ x.flatten(2)).unflatten(2, x.shape[2:]), weight=weight)
    if way == 1:
        return Step(lambda m, x: x @ m.weight.t(), weight=weight)
    if way == 2:
        return Step(lambda m, x: torch.tensordot(x, m.weight, dims=([2], [1])), weight=weight)
    return Step(lambda m, x: torch.einsum("...d,od->...o", x, m.weight), weight=weight)


@gene(ANY, weight=1)
def _computed_weight(size: Size, knobs: Knobs) -> nn.Module:
    """A linear layer whose weight is computed in forward: normed, standardised, masked, low rank, scaled."""
    out, way = knobs.of(*WIDTHS), knobs.below(7)
    weight, scale = parameter(out, size.width), parameter(out, 1)
    rank = knobs.of(2, 3, 4)
    mask = (torch.arange(out * size.width).reshape(out, size.width) % 3 > 0).float()
    compute = (
        lambda m: m.scale * m.weight / m.weight.norm(dim=1, keepdim=True),
        lambda m: m.weight - m.weight.mean(1, keepdim=True),
        lambda m: m.weight * m.mask,
        lambda m: m.weight + m.left @ m.right,
        lambda m: m.scale * m.weight,
        lambda m: torch.softmax(m.weight, 1),
        lambda m: m.weight * torch.sigmoid(m.right.sum(0)),
    )[way]

    def forward(m: Any, x: Tensor) -> Tensor:
        w = compute(m)
        return F.conv2d(x, w[:, :, None, None]) if x.dim() == 4 else F.linear(x, w)

    return Step(
        forward, weight=weight, scale=scale, mask=mask, left=parameter(out, rank), right=parameter(rank, size.width)
    )


@gene(ANY, weight=1)
def _weight_norm(size: Size, knobs: Knobs) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(pointwise(size, knobs.of(*WIDTHS)))


@gene(ANY, weight=1)
def _experts(size: Size, knobs: Knobs) -> nn.Module:
    """A stack of matrices, mixed softly by a router or all summed."""
    count, out = knobs.of(2, 3), knobs.of(*WIDTHS)
    weight, router, soft = parameter(count, out, size.width), pointwise(size, count), knobs.below(2)
    axis = size.axis
    terms = ("bchw,eoc->beohw", "behw,beohw->bohw") if size.image else ("btd,eod->bteo", "bte,bteo->bto")

    def forward(m: Any, x: Tensor) -> Tensor:
        gate = m.router(x)
        gate = gate.softmax(axis) if soft else gate
        return torch.einsum(terms[1], gate, torch.einsum(terms[0], x, m.weight))

    return Step(forward, weight=weight, router=router)


@gene(ANY, weight=6)
def _norm(size: Size, knobs: Knobs) -> nn.Module:
    """Batch, layer, group, instance and RMS norm."""
    c, groups, affine = size.width, knobs.divisor(size.width), knobs.of(True, True, False)
    if size.image:
        return knobs.of(
            nn.BatchNorm2d(c, affine=affine),
            nn.GroupNorm(groups, c, affine=affine),
            nn.InstanceNorm2d(c, affine=affine),
            nn.InstanceNorm2d(c, affine=affine, track_running_stats=True),
            nn.LayerNorm(list(size.dims), elementwise_affine=affine),
            _channels_last(nn.LayerNorm(c, elementwise_affine=affine)),
        )
    return knobs.of(
        nn.LayerNorm(c, elementwise_affine=affine),
        nn.RMSNorm(c, elementwise_affine=affine),
        _features_first(nn.BatchNorm1d(c, affine=affine)),
        _features_first(nn.GroupNorm(groups, c, affine=affine)),
        nn.LayerNorm(list(size.dims), elementwise_affine=affine),
    )


def _channels_last(norm: nn.Module) -> nn.Module:
    return Step(lambda m, x: m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=norm)


def _features_first(norm: nn.Module) -> nn.Module:
    return Step(lambda m, x: m.norm(x.transpose(1, 2)).transpose(1, 2), norm=norm)


@gene(ANY, weight=3)
def _hand_norm(size: Size, knobs: Knobs) -> nn.Module:
    """Norms as people write them, with the length taken from the tensor or written down."""
    axis, width, way = size.axis, size.width, knobs.below(8)
    weight, bias = parameter(*size.column), parameter(*size.column)
    centre = (
        lambda x: x * torch.rsqrt(x.pow(2).mean(axis, keepdim=True) + 1e-6),
        lambda x: (x - x.mean(axis, keepdim=True)) / (x.var(axis, keepdim=True, unbiased=False) + 1e-5).sqrt(),
        lambda x: x - x.mean(axis, keepdim=True),
        lambda x: x / (x.square().sum(axis, keepdim=True) / width + 1e-6).sqrt(),
        lambda x: x / (x.square().sum(axis, keepdim=True) / x.shape[axis] + 1e-6).sqrt(),
        lambda x: x / (x.norm(dim=axis, keepdim=True) * width**-0.5 + 1e-6),
        lambda x: F.normalize(x, dim=axis) * x.shape[axis] ** 0.5,
        lambda x: (x - x.mean(axis, keepdim=True)) / (x.std(axis, keepdim=True) + 0.1),
    )[way]
    shift = knobs.below(2)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = centre(x) * m.weight
        return y + m.bias if shift else y

    return Step(forward, weight=weight, **({"bias": bias} if shift else {}))


@gene(ANY, weight=1)
def _response_norm(size: Size, knobs: Knobs) -> nn.Module | None:
    """Global response normalisation, as in ConvNeXt V2: over places, then over channels."""
    if not size.image:
        return nn.LocalResponseNorm(3) if knobs.below(2) else None
    weight = parameter(*size.column)

    def forward(m: Any, x: Tensor) -> Tensor:
        energy = x.norm(dim=(2, 3), keepdim=True)
        return x + x * m.weight * energy / (energy.mean(1, keepdim=True) + 1e-6)

    return Step(forward, weight=weight)
