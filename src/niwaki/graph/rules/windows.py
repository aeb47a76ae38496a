"""Windows that slide, diagonals, and sampling at computed places: channels stay as they are."""

from __future__ import annotations

import numpy as np

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label
from niwaki.graph.rules import rule


@rule("unfold")
def unfold(call: Call) -> None:
    """``x.unfold(dim, size, step)``: a new last dimension runs over each window."""
    source = call["self"]
    labels = call.passes(source, [call.get("dimension", 0)], "windows slide over this axis")
    call.give(call.out, [*labels, Free() if call["size"] == 1 else call.fixed("positions in a window")])


@rule("im2col")
def im2col(call: Call) -> None:
    """``F.unfold``: (N, C, H, W) to (N, C × window, windows), each channel as often in a row as a window has pixels."""
    source, out = call["self"], call.out
    *batch, channels, _, _ = call.passes(source, (-2, -1), "windows slide over this axis")
    times = out.shape[-2] // source.shape[-3]
    columns: Label = call.fixed("pixels of a window") if times > 1 else channels
    if isinstance(channels, Atoms):
        columns = Atoms(np.repeat(channels.ids, times), channels.clean)
    call.give(out, [*batch, columns, call.fixed("windows") if out.shape[-1] > 1 else Free()])


@rule("col2im")
def col2im(call: Call) -> None:
    """``F.fold``: the sum of windows, (N, C × window, windows) to (N, C, H, W). The pixels of a channel go together."""
    source, out = call["self"], call.out
    *batch, columns, windows = call.labels(source)
    call.refuse([windows], "windows slide over this axis")
    channels: Label = columns
    if isinstance(columns, Atoms):
        pixels = columns.ids.reshape(out.shape[-3], -1)
        for k in range(1, pixels.shape[1]):
            call.ledger.tie(pixels[:, 0], pixels[:, k], call.site)
        channels = Atoms(np.ascontiguousarray(pixels[:, 0]), columns.clean)
    call.give(out, [*batch, channels, *(call.fixed("pixels") if n > 1 else Free() for n in out.shape[-2:])])


@rule("diagonal")
def diagonal(call: Call) -> None:
    """Positions of two dimensions that are equal: a square is cut on both sides alike, others stay."""
    source, out = call["self"], call.out
    first, second = (call.get(name, k) % source.dim() for k, name in enumerate(("dim1", "dim2")))
    labels = call.labels(source)
    pair = [labels[first], labels[second]]
    if call.get("offset", 0) == 0 and source.shape[first] == source.shape[second]:
        along = call.meet(pair, "any")
    else:
        along = call.refuse(pair, "a diagonal beside the main one, or of no square")
    call.give(out, [*(x for k, x in enumerate(labels) if k not in (first, second)), along])


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback")
def grid_sampler(call: Call) -> None:
    """``F.grid_sample``: (N, C, …) read where a grid (N, …, 2 or 3) says; what is zero throughout stays zero."""
    source, out = call["input"], call.out
    batch, channels, *_ = call.passes(source, range(2, source.dim()), "sampled at computed places")
    first, *places = call.labels(call["grid"])
    call.refuse(places, "places to sample at")
    call.give(out, [call.meet([batch, first]), channels, *(call.fixed("samples") for _ in out.shape[2:])])


@rule("affine_grid_generator")
def affine_grid(call: Call) -> None:
    """Places to sample at, (N, …, 2 or 3), of as many matrices."""
    batch, *_ = call.passes(call["theta"], (1, 2), "a matrix of places")
    call.give(call.out, [batch, *(call.fixed("places to sample at") for _ in call.out.shape[1:])])
