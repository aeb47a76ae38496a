"""Genes that work value by value: activations, scales, shifts, conditions, and numbers taken from sizes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import parameter
from niwaki.testing.fuzz.pool import ANY, IMAGE, Knobs, Size, Step, gene, plain

VANISHING = (
    *(F.relu, F.gelu, F.silu, torch.tanh, F.hardswish, F.elu, F.mish, F.leaky_relu, F.softsign, F.celu, F.relu6),
    *(F.selu, F.hardtanh, torch.erf, torch.sin, torch.atan, F.softshrink, F.hardshrink, F.tanhshrink, torch.asinh),
    *(
        torch.square,
        torch.abs,
        torch.neg,
        torch.relu,
        nn.Dropout(0.3).eval(),
        nn.AlphaDropout(0.3).eval(),
        torch.nan_to_num,
    ),
)
LASTING = (
    *(torch.sigmoid, F.softplus, F.hardsigmoid, F.logsigmoid, torch.cos),
    *(lambda x: x + 1, lambda x: 1 - x, lambda x: (-x.abs()).exp(), lambda x: x - 0.5, lambda x: 0.5 + x * 2),
    *(lambda x: torch.cosh(x.tanh()), lambda x: F.threshold(x, 0.1, 2.0), lambda x: x.clamp(min=0.1)),
    *(lambda x: torch.rsqrt(x * x + 1), lambda x: 1 / (1 + x.abs()), lambda x: (x > 0).to(x.dtype)),
    *(
        lambda x: torch.exp2(-x.abs()),
        lambda x: torch.erfc(x),
        lambda x: (x.abs() + 0.1).log(),
        lambda x: 2.0 ** -x.abs(),
    ),
    *(
        lambda x: torch.acos(x.tanh() * 0.9),
        lambda x: torch.reciprocal(x.abs() + 2),
        lambda x: torch.lgamma(x.abs() + 1),
    ),
)


@gene(ANY, weight=9)
def _vanishing(size: Size, knobs: Knobs) -> nn.Module:
    """An activation that keeps zero."""
    act: Any = knobs.of(*VANISHING)
    return Step(lambda m, x: act(x))


@gene(ANY, weight=4)
def _lasting(size: Size, knobs: Knobs) -> nn.Module:
    """An activation that makes something of zero."""
    act: Any = knobs.of(*LASTING)
    return Step(lambda m, x: act(x))


plain(
    ANY,
    {
        "zeros_to_zero": lambda x, a, n, p: (
            (x * 2, x / 3, -x, x * x, x.pow(3), x.expm1().tanh())[p],
            x + x.relu(),
            x.clamp(-0.5, 2.0),
        )[p % 3 if p > 2 else 0],
        "where_leaky": lambda x, a, n, p: torch.where(x > 0, x, x * 0.1),
        "where_zero": lambda x, a, n, p: torch.where(x > 0.1 * p, x, torch.zeros_like(x)),
        "where_scalar": lambda x, a, n, p: torch.where(x > 0, x, 0.1 * p),
        "where_other": lambda x, a, n, p: torch.where(x > -0.2, 0.3, x),
        "masked_fill": lambda x, a, n, p: x.masked_fill(x < 0, 0.25 * (p % 3)),
        "times_condition": lambda x, a, n, p: x * (x > 0.1),
        "maximum": lambda x, a, n, p: torch.maximum(x, -0.2 * x),
        "maximum_constant": lambda x, a, n, p: torch.maximum(x, torch.tensor(0.1 * p, dtype=x.dtype)),
        "minimum_sum": lambda x, a, n, p: torch.minimum(x, x.new_ones(())) + torch.fmax(x, x * 0.3),
        "lerp": lambda x, a, n, p: torch.lerp(x, x.tanh(), 0.3),
        "addcmul": lambda x, a, n, p: torch.addcmul(x, x.tanh(), x.sigmoid(), value=0.5),
        "addcdiv": lambda x, a, n, p: torch.addcdiv(x, x.tanh(), x.abs() + 1.0),
        "atan2": lambda x, a, n, p: torch.atan2(x, x.abs() + 1),
        "copysign": lambda x, a, n, p: torch.copysign(x.abs() + 0.1, x),
        "hypot": lambda x, a, n, p: torch.hypot(x, 0.5 * x + 1),
        "logaddexp": lambda x, a, n, p: torch.logaddexp(x, -x),
        "remainder": lambda x, a, n, p: torch.fmod(x, 1.5) + torch.remainder(x, 2.5),
        "floor_round": lambda x, a, n, p: x + x.floor() - x.round() + x.trunc(),
        "sign_sqrt": lambda x, a, n, p: x.sign() * (x.abs() + 0.01).sqrt(),
        "xlogy": lambda x, a, n, p: torch.xlogy(x, x.abs() + 1.0),
        "pow_of_positive": lambda x, a, n, p: (x.abs() + 0.2) ** (-0.5, 0.0, 1.5, 2, 0.5, -1)[p],
        "power_of_itself": lambda x, a, n, p: (x.abs() + 0.5).pow(x.tanh()),
        "gate_itself": lambda x, a, n, p: x * torch.sigmoid(1.7 * x),
        "divide_by_itself": lambda x, a, n, p: x / (1 + x.abs()),
        "sigmoid_then_centred": lambda x, a, n, p: x.sigmoid() - 0.5,
        "exp_minus_one": lambda x, a, n, p: (-x.abs()).exp() - 1,
        "cast": lambda x, a, n, p: x.float().to(x.dtype) if p == 0 else x.to(x.dtype) + x.type_as(x),
        "detach": lambda x, a, n, p: x + x.detach().tanh(),
        "integers": lambda x, a, n, p: x * x.abs().ceil().long().clamp(max=3),
        "logical": lambda x, a, n, p: x * ((x > 0) & (x < 2) | ~(x > -1)),
        "scale_from_size": lambda x, a, n, p: x / math.sqrt(x.shape[a]),
        "times_size": lambda x, a, n, p: x * x.shape[a],
        "scale_written": lambda x, a, n, p: x * n**-0.5,
        "plus_size": lambda x, a, n, p: x + x.size(a) / 10,
        "scale_from_numel": lambda x, a, n, p: x / (x[0].numel() ** 0.5),
        "scale_from_space": lambda x, a, n, p: x / x.shape[2 if a == 1 else 1],
        "scale_tensor_size": lambda x, a, n, p: x / torch.tensor(float(x.shape[a]), dtype=x.dtype).sqrt(),
        "fixed_scale": lambda x, a, n, p: x * torch.full((n, 1, 1) if a == 1 else (n,), 0.5, dtype=x.dtype),
    },
    weight=0.7,
)


@gene(ANY, weight=3)
def _glu(size: Size, knobs: Knobs) -> nn.Module | None:
    axis = size.axis
    return None if size.width % 2 or size.width < 4 else Step(lambda m, x: F.glu(x, axis))


@gene(ANY, weight=2)
def _prelu(size: Size, knobs: Knobs) -> nn.Module:
    if size.image:
        return nn.PReLU(knobs.of(size.width, 1))
    count = knobs.of(size.width, 1, size.dims[0])
    prelu = nn.PReLU(count)
    if count == size.dims[0]:
        return prelu
    return Step(lambda m, x: m.prelu(x.transpose(1, 2)).transpose(1, 2), prelu=prelu)


@gene(ANY, weight=4)
def _by_channel(size: Size, knobs: Knobs) -> nn.Module:
    """Scaled and shifted by a parameter or a buffer with one number a channel."""
    way, offset = knobs.below(8), torch.linspace(0.5, 1.5, size.width).reshape(size.column)
    steps = (
        lambda m, x: x * m.weight,
        lambda m, x: x + m.weight,
        lambda m, x: x * m.offset,
        lambda m, x: x + m.offset,
        lambda m, x: x / (m.weight.abs() + 0.5),
        lambda m, x: torch.sigmoid(m.weight) * x,
        lambda m, x: x.tanh() * m.weight + x,
        lambda m, x: torch.addcmul(m.offset, x, m.weight),
    )
    return Step(steps[way], weight=parameter(*size.column), offset=offset)


@gene(ANY, weight=2)
def _flat_by_channel(size: Size, knobs: Knobs) -> nn.Module:
    """The same with a flat vector that is given its dimensions in forward, or read in part."""
    image, width, way = size.image, size.width, knobs.below(6)
    long = parameter(width + 3)

    def column(vector: Tensor) -> Tensor:
        return vector[:, None, None] if image else vector

    steps = (
        lambda m, x: x * column(m.weight),
        lambda m, x: x + (m.weight.view(1, -1, 1, 1) if image else m.weight.view(1, 1, -1)),
        lambda m, x: x * (m.weight.reshape(1, width, 1, 1) if image else m.weight.expand(1, 1, width)),
        lambda m, x: x * column(m.long[: x.shape[1 if image else 2]]),
        lambda m, x: x + column(m.long[:width]),
        lambda m, x: x * column(m.weight[m.order]),
    )
    return Step(steps[way], weight=parameter(width), long=long, order=torch.arange(width).flip(0))


@gene(ANY, weight=2)
def _positions(size: Size, knobs: Knobs) -> nn.Module:
    """A learned value for every place and channel."""
    way, full = knobs.below(3), parameter(1, *size.dims)
    if size.image or way == 0:
        return Step(lambda m, x: x + m.full, full=full)
    longer = parameter(size.dims[0] + 2, size.width)
    if way == 1:
        return Step(lambda m, x: x + m.longer[: x.shape[1]], longer=longer)
    table = nn.Embedding(size.dims[0] + 2, size.width)
    return Step(lambda m, x: x + m.table(torch.arange(x.shape[1])), table=table)


@gene(ANY, weight=1)
def _learned_cut(size: Size, knobs: Knobs) -> nn.Module:
    """A learned temperature or one weight for all, and choices by a buffer."""
    way, mask = knobs.below(5), (torch.arange(size.width) % 2 == 0).reshape(size.column)
    steps: tuple[Any, ...] = (
        lambda m, x: x * m.one,
        lambda m, x: x * m.one.exp().clamp(max=2.0) + m.one,
        lambda m, x: torch.where(m.mask, x, x * 0.1),
        lambda m, x: x.masked_fill(m.mask, 0.0),
        lambda m, x: x.masked_fill(m.mask, 0.5),
    )
    return Step(steps[way], one=parameter(1), mask=mask)


@gene(IMAGE, weight=3)
def _pool(size: Size, knobs: Knobs) -> nn.Module | None:
    if min(size.dims[1:]) < 2:
        return None
    return knobs.of(
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.MaxPool2d(3, 1, 1),
        nn.AdaptiveMaxPool2d(2),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.LPPool2d(2, 2),
        nn.AdaptiveAvgPool2d(1),
    )


@gene(IMAGE, weight=2)
def _resample(size: Size, knobs: Knobs) -> nn.Module | None:
    if max(size.dims[1:]) > 4:
        return None
    mode = knobs.of("nearest", "bilinear", "bicubic", "nearest-exact")
    return Step(lambda m, x: F.interpolate(x, scale_factor=2, mode=mode))
