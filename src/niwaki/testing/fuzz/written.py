"""Genes that write into tensors, and genes that use one tensor or module in several places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import parameter, pointwise
from niwaki.testing.fuzz.pieces import part
from niwaki.testing.fuzz.pool import ANY, TOKEN, Knobs, Size, Step, gene

Write = Callable[[Tensor, int, int], "Tensor | None"]


def _assigned(x: Tensor, axis: int, n: int) -> None:
    part(x, axis, None, n // 2).fill_(0.0)


def _assigned_by_size(x: Tensor, axis: int, n: int) -> None:
    part(x, axis, None, x.shape[axis] // 2).mul_(2.0)


def _slot(x: Tensor, axis: int, n: int) -> None:
    if axis == 1:
        x[:, : n // 2] = x[:, n // 2 : n // 2 * 2].tanh()
    else:
        x[..., : n // 2] = 0.5


def _half_rectified(x: Tensor, axis: int, n: int) -> None:
    F.relu(part(x, axis, None, x.shape[axis] // 2), inplace=True)


def _half_filled(x: Tensor, axis: int, n: int) -> None:
    part(x, axis, -(x.shape[axis] // 2), None).add_(1.0)


def _one_zeroed(x: Tensor, axis: int, n: int) -> None:
    x.select(axis, n - 1).zero_()


def _column_written(x: Tensor, axis: int, n: int) -> None:
    x[..., 0] = 1.0


def _masked(x: Tensor, axis: int, n: int) -> None:
    x.masked_fill_(x < 0, 0.3)


def _masked_by_index(x: Tensor, axis: int, n: int) -> None:
    x[x < 0.1] = 0.0


def _through_a_view(x: Tensor, axis: int, n: int) -> None:
    x.view(x.shape[0], -1).add_(0.5)


def _through_a_transpose(x: Tensor, axis: int, n: int) -> None:
    x.transpose(1, 2).sigmoid_()


def _plain_chain(x: Tensor, axis: int, n: int) -> None:
    x.add_(1.0).mul_(0.5).sub_(0.2).relu_()


def _added_to_itself(x: Tensor, axis: int, n: int) -> None:
    x.add_(x.tanh()).mul_(x.sigmoid())


def _copied(x: Tensor, axis: int, n: int) -> None:
    x.copy_(x.flip(axis))


def _copied_half(x: Tensor, axis: int, n: int) -> None:
    half = n // 2
    part(x, axis, 0, half).copy_(part(x, axis, half, 2 * half).clone())


def _index_filled(x: Tensor, axis: int, n: int) -> None:
    x.index_fill_(axis, torch.arange(0, n, 2), 0.0)


def _index_copied(x: Tensor, axis: int, n: int) -> None:
    x.index_copy_(axis, torch.arange(n // 2), part(x, axis, 0, n // 2).tanh())


def _broadcast_written(x: Tensor, axis: int, n: int) -> None:
    x.sub_(x.clone().amax(axis, keepdim=True))


def _swapped_by_slices(x: Tensor, axis: int, n: int) -> None:
    x.copy_(torch.cat([part(x, axis, n // 2, None), part(x, axis, None, n // 2)], axis))


def _filled_anew(x: Tensor, axis: int, n: int) -> Tensor:
    y = torch.zeros_like(x)
    part(y, axis, None, n // 2).copy_(part(x, axis, None, n // 2))
    return y


def _doubled_buffer(x: Tensor, axis: int, n: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] *= 2
    y = x.new_zeros(shape)
    part(y, axis, None, x.shape[axis]).copy_(x)
    part(y, axis, x.shape[axis], None).copy_(x.relu())
    return y


def _row_by_row(x: Tensor, axis: int, n: int) -> Tensor:
    y = torch.empty_like(x)
    for k in range(x.shape[0]):
        y[k] = x[k] * (k + 1)
    return y


def _every_other_written(x: Tensor, axis: int, n: int) -> Tensor:
    y = torch.zeros_like(x)
    (y[:, ::2] if axis == 1 else y[..., ::2]).add_(1.0)
    return x + y


def _added_into_zeros(x: Tensor, axis: int, n: int) -> Tensor:
    return torch.zeros_like(x).add_(x).addcmul_(x, x.tanh())


WRITES: tuple[Write, ...] = (
    *(_plain_chain, _assigned, _assigned_by_size, _slot, _half_rectified, _half_filled, _one_zeroed, _column_written),
    *(_masked, _masked_by_index, _through_a_view, _through_a_transpose, _added_to_itself, _copied, _copied_half),
    *(_index_filled, _index_copied, _broadcast_written, _swapped_by_slices, _filled_anew, _doubled_buffer),
    *(_row_by_row, _every_other_written, _added_into_zeros),
)


@gene(ANY, weight=9)
def _written(size: Size, knobs: Knobs) -> nn.Module | None:
    """In-place operations on a copy, or straight on the activations of a fresh layer."""
    axis, width, write = size.axis, size.width, knobs.of(*WRITES)
    if width < 2 or width > 12:
        return None
    keep = knobs.below(3)
    layer = pointwise(size, width) if keep == 2 else nn.Identity()

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.layer(x) if keep == 2 else x.clone()
        held = y * 1 if keep == 1 else None
        result = write(y, axis, width)
        result = y if result is None else result
        return result if held is None or held.shape != result.shape else result + held

    return Step(forward, layer=layer)


@gene(ANY, weight=3)
def _twice(size: Size, knobs: Knobs) -> nn.Module:
    """One layer used twice, on its own result or on two parts."""
    layer, axis, way = pointwise(size, size.width), size.axis, knobs.below(4)
    steps: tuple[Any, ...] = (
        lambda m, x: m.layer(m.layer(x).relu()),
        lambda m, x: m.layer(x) + m.layer(x.relu()),
        lambda m, x: torch.cat([m.layer(x), m.layer(-x)], axis),
        lambda m, x: m.norm(m.layer(m.norm(x))),
    )
    norm = nn.BatchNorm2d(size.width) if size.image else nn.LayerNorm(size.width)
    return Step(steps[way], layer=layer, norm=norm)


@gene(ANY, weight=2)
def _tied(size: Size, knobs: Knobs) -> nn.Module:
    """Two layers of one weight: the same, transposed, or in part."""
    inner, axis, way = knobs.of(6, 4, 8), size.axis, knobs.below(4)
    weight, bias = parameter(inner, size.width), parameter(inner)
    steps: tuple[Any, ...] = (
        lambda y, m: F.linear(F.linear(y, m.weight, m.bias).relu(), m.weight.t()),
        lambda y, m: F.linear(y, m.weight) + F.linear(y.relu(), m.weight, m.bias),
        lambda y, m: F.linear(y, m.weight[: inner // 2]),
        lambda y, m: F.linear(F.linear(y, m.weight).tanh(), m.weight.mT) + y,
    )
    return Step(
        lambda m, x: steps[way](x.movedim(axis, -1), m).movedim(-1, axis),
        weight=weight,
        **({"bias": bias} if way < 2 else {}),
    )


@gene(TOKEN, weight=2)
def _tied_modules(size: Size, knobs: Knobs) -> nn.Module:
    """Two modules that hold one parameter."""
    first, second = nn.Linear(size.width, size.width), nn.Linear(size.width, size.width)
    second.weight = first.weight
    if knobs.below(2):
        second.bias = first.bias
    return nn.Sequential(first, knobs.of(nn.ReLU(), nn.Sigmoid()), second)


@gene(TOKEN, weight=1)
def _recurrent(size: Size, knobs: Knobs) -> nn.Module:
    cell = knobs.of(nn.LSTM, nn.GRU, nn.RNN)
    layers = cell(size.width, knobs.of(4, 6), batch_first=True, bidirectional=knobs.of(False, True))
    return Step(lambda m, x: m.layers(x)[0], layers=layers)


@gene(TOKEN, weight=1)
def _unrolled(size: Size, knobs: Knobs) -> nn.Module:
    """A recurrence written out in Python."""
    inner = knobs.of(4, 6)

    def forward(m: Any, x: Tensor) -> Tensor:
        state, states = x.new_zeros(x.shape[0], inner), []
        for k in range(x.shape[1]):
            state = torch.tanh(m.enter(x[:, k]) + m.turn(state))
            states.append(state)
        return torch.stack(states, 1)

    return Step(forward, enter=nn.Linear(size.width, inner), turn=nn.Linear(inner, inner))


@gene(TOKEN, weight=1)
def _scanned(size: Size, knobs: Knobs) -> nn.Module:
    """A gated linear recurrence with a decay a channel, as in state-space models."""
    width = size.width

    def forward(m: Any, x: Tensor) -> Tensor:
        u, gate = m.enter(x).chunk(2, -1)
        decay = torch.sigmoid(m.decay)
        state, states = torch.zeros_like(u[:, 0]), []
        for k in range(u.shape[1]):
            state = decay * state + u[:, k]
            states.append(state)
        return m.leave(torch.stack(states, 1) * F.silu(gate)) + m.skip * x

    inner = knobs.of(4, 6)
    return Step(
        forward,
        enter=nn.Linear(width, 2 * inner),
        leave=nn.Linear(inner, width),
        decay=parameter(inner),
        skip=parameter(width),
    )
