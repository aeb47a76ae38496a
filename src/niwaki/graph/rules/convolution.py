"""Convolutions, plain, grouped, depthwise and transposed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Label, distinct, soiled
from niwaki.graph.rules import rule
from niwaki.graph.work import Convolution, Work

FORWARD = ["conv1d", "conv2d", "conv3d", "convolution"]
TRANSPOSED = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


@rule(*FORWARD, *TRANSPOSED)
def convolution(call: Call) -> None:
    """Weight (out, in / groups, …), or (in, out / groups, …) when transposed.

    One group: input channels are tied to the weight's input axis. Several: both sides are grids (group × channel in
    group); whole groups may go, and channels inside groups, equally many in each.
    """
    x, weight, bias, groups = call["input"], call["weight"], call.get("bias"), call.get("groups", 1)
    transposed = call.op in TRANSPOSED or bool(call.get("transposed"))
    taps = weight.dim() - 2
    labels, kernel = call.labels(x), call.labels(weight)
    call.refuse(kernel[2:], "the kernel's size")
    where = x.dim() - taps - 1
    made = (_transposed if transposed else _forward)(call, labels[where], kernel, groups)
    if isinstance(bias, Tensor):
        made = call.meet([made, call.labels(bias)[0]])
    space = math.prod((x if transposed else call.out).shape[where + 1 :])
    batch = math.prod(x.shape[:where])
    call.cost(
        batch * space * math.prod(weight.shape[2:]),
        (kernel[0], weight.shape[0]),
        (kernel[1], weight.shape[1]),
        work=_work(call, labels[where], kernel, transposed) if groups == 1 or not transposed else None,
    )
    space_labels = call.passes(x, range(where + 1, x.dim()), "a dimension that a convolution slides over")
    rows = [soiled(x) for x in labels[:where]] if isinstance(bias, Tensor) else labels[:where]
    call.give(call.out, [*rows, made, *space_labels[where + 1 :]])


def _work(call: Call, source: Label, kernel: list[Label], transposed: bool) -> Work:
    x, weight = call["input"], call["weight"]
    taps = weight.dim() - 2
    where = x.dim() - taps - 1
    stride, dilation = (_each(call.get(name, 1), taps) for name in ("stride", "dilation"))
    padding = call.get("padding", 0)
    form = Convolution(
        math.prod(x.shape[:where]),
        tuple(x.shape[where + 1 :]),
        tuple(call.out.shape[where + 1 :]),
        tuple(weight.shape[2:]),
        stride,
        padding if isinstance(padding, str) else _each(padding, taps),
        dilation,
        isinstance(call.get("bias"), Tensor),
        _each(call.get("output_padding", 0), taps) if transposed else None,
    )
    lengths = [call.length(label, n) for label, n in zip(kernel[:2], weight.shape[:2], strict=True)]
    taken, made = lengths if transposed else lengths[::-1]
    return Work(form, made, taken, call.length(source, x.shape[where]))


def _each(value: int | Sequence[int], taps: int) -> tuple[int, ...]:
    """One number for every dimension that the kernel slides over."""
    found = [value] if isinstance(value, int) else list(value)
    return tuple(found * taps if len(found) == 1 else found)


def _forward(call: Call, source: Label, kernel: list[Label], groups: int) -> Label:
    out, into = kernel[0], kernel[1]
    depthwise = groups > 1 and isinstance(out, Atoms) and out.ids.size == groups
    if not depthwise:  # a depthwise filter follows the channel that it filters
        call.play(out, "makes", "channel")
        call.hint(out, "channel")
    if groups == 1:
        call.contract(source, into)
        call.play(into, "takes", "channel")
        return out
    rows_in, column = _grid(call, source, groups)
    rows_out, _ = _grid(call, out, groups)
    _contract_grouped(call, column, into)
    call.meet([rows_in, rows_out], "any")
    return out


def _transposed(call: Call, source: Label, kernel: list[Label], groups: int) -> Label:
    into, out = kernel[0], kernel[1]
    call.play(into, "takes", "channel")
    call.play(out, "makes", "channel")
    call.contract(source, into)
    if groups == 1:
        return out
    if not isinstance(into, Atoms) or not isinstance(out, Atoms):
        return call.refuse([into, out], "a grouped transposed convolution with a computed weight")
    rows, _ = _grid(call, into, groups)
    assert isinstance(rows, Atoms)
    # Output channel (g, j) goes when group g goes, or when column j of the weight goes.
    return Atoms(call.ledger.join((rows.ids, out.ids), call.site).reshape(-1), out.clean)


def _grid(call: Call, label: Label, groups: int) -> tuple[Label, Label]:
    """A channel axis as (group, channel in group). With one channel a group, the channels are the groups."""
    if not isinstance(label, Atoms):
        return label, label
    if not distinct(label.ids):
        blocked = call.refuse([label], "a grouped convolution over repeated channels")
        return blocked, blocked
    inside = label.ids.size // groups
    if inside == 1:
        return label, Atoms(label.ids[:1], label.clean)
    rows, columns = call.ledger.split(label.ids, (groups, inside), call.site)
    return Atoms(rows, label.clean), Atoms(columns, label.clean)


def _contract_grouped(call: Call, column: Label, into: Label) -> None:
    """The weight's input axis is shared by all groups: one of its positions is one channel of every group."""
    if not isinstance(into, Atoms) or into.ids.size == 1:
        return
    call.contract(column, into)
    call.play(into, "takes", "channel")
