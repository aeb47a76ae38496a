"""Parts of a dimension: slices, chunks, concatenation, padding, and reorderings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Fixed, Free, Label, Reason
from niwaki.graph.rules import rule


@rule(
    "chunk",
    "split",
    "split_with_sizes",
    "unsafe_chunk",
    "unsafe_split",
    "tensor_split",
    "unsafe_split_with_sizes",
)
def pieces(call: Call) -> None:
    """Equal parts keep equal counts (that the code does not write the size down is proven by the dry run)."""
    source = call.arguments["self"]
    dim = call.get("dim", 0) % source.dim()
    outs: Sequence[Tensor] = call.out
    labels = call.labels(source)
    sizes = [t.shape[dim] for t in outs]
    cuts = _cut(call, labels[dim], sizes)
    for t, label in zip(outs, cuts, strict=True):
        call.give(t, [*labels[:dim], label, *labels[dim + 1 :]])


def _cut(call: Call, label: Label, sizes: list[int]) -> list[Label]:
    if not isinstance(label, Atoms) or len(sizes) == 1:
        return [label] * len(sizes)
    if len(set(sizes)) > 1:
        call.suspect(label)
        return [Atoms(ids, label.clean) for ids in np.split(label.ids, np.cumsum(sizes)[:-1])]
    parts = np.split(label.ids, len(sizes))
    call.ledger.balance(parts, call.site)
    return [Atoms(p, label.clean) for p in parts]


@rule("slice", "narrow")
def slice_(call: Call) -> None:
    source, out = call.arguments["self"], call.out
    dim = call.get("dim", 0) % source.dim()
    labels = call.labels(source)
    length = source.shape[dim]
    start, step = _bounds(call, length)
    if out.shape[dim] != length:
        call.took(labels[dim], np.arange(start, start + out.shape[dim] * step, step))
        labels[dim] = _part(call, labels[dim], start, out.shape[dim], step)
    call.give(out, labels)


def _bounds(call: Call, length: int) -> tuple[int, int]:
    start = call.get("start") or 0
    return (start + length if start < 0 else min(start, length)), call.get("step") or 1


def _part(call: Call, label: Label, start: int, size: int, step: int) -> Label:
    """A slice of a prunable axis is one of equal parts, or the dry run must find out whether its bounds follow."""
    if not isinstance(label, Atoms):
        return label
    total = label.ids.size
    if size == 0:
        return Free()
    if step != 1 or total % size or start % size:
        call.suspect(label)
        return label.take(slice(start, start + size * step, step))
    call.ledger.balance(np.split(label.ids, total // size), call.site, guessed=True)
    return label.take(slice(start, start + size))


@rule("select", "unbind")
def select(call: Call) -> None:
    """One position of a dimension is taken by number: none of its positions may go."""
    source = call.arguments["self"]
    dim = call.get("dim", 0) % source.dim()
    labels = call.labels(source)
    for t in call.results():
        call.refuse_if_used(t, [labels[dim]], "positions taken by number")
        call.give(t, labels[:dim] + labels[dim + 1 :])


@rule("cat", "concat", "concatenate")
def cat(call: Call) -> None:
    tensors = [t for t in call["tensors"] if t.numel() or t.dim() == call.out.dim()]
    dim = call.get("dim", 0) % call.out.dim()
    labels = [call.labels(t) for t in tensors]
    side_by_side = join(call, [(x[dim], t.shape[dim]) for x, t in zip(labels, tensors, strict=True)])
    result = [side_by_side if k == dim else call.meet([x[k] for x in labels]) for k in range(call.out.dim())]
    call.give(call.out, result)


def join(call: Call, parts: list[tuple[Label, int]]) -> Label:
    """Labels one after another. A part that is not prunable keeps its place as blocked positions; one that was made on
    the spot (a first state of zeros) may be as long as what stands there later on."""
    made = any(isinstance(x, Free) and x.lengths for x, _ in parts)
    if not any(isinstance(x, Atoms) or (made and isinstance(x, Fixed)) for x, _ in parts):
        fixed = next((x for x, _ in parts if isinstance(x, Fixed)), None)
        return fixed or Free(all(isinstance(x, Free) and x.zero for x, _ in parts))
    ids, clean = [], True
    for label, length in parts:
        if isinstance(label, Atoms):
            ids.append(label.ids)
            clean &= label.clean
            continue
        stand_in = call.ledger.new(length)
        ids.append(stand_in)
        if isinstance(label, Free) and label.lengths:
            clean &= call.stands(label, stand_in).clean
            continue
        reason = label.reason if isinstance(label, Fixed) else Reason("positions of fixed number", call.site)
        call.ledger.block(stand_in, reason)
    return Atoms(np.concatenate(ids), clean)


@rule("stack")
def stack(call: Call) -> None:
    labels = [call.labels(t) for t in call["tensors"]]
    dim = call.get("dim", 0) % call.out.dim()
    met: list[Label] = [call.meet(column) for column in zip(*labels, strict=True)]
    met.insert(dim, call.fixed("a stacked dimension") if call.out.shape[dim] > 1 else Free())
    call.give(call.out, met)


@rule(
    "pad",
    "constant_pad_nd",
    "reflection_pad1d",
    "reflection_pad2d",
    "replication_pad1d",
    "replication_pad2d",
    "zero_pad2d",
)
def pad(call: Call) -> None:
    """Padding of a prunable axis adds positions of a written number; those it pads can still go."""
    source, out = call.arguments["self"], call.out
    widths = call.get("pad", call.get("padding"))
    mode = call.get("mode", "constant" if "constant" in call.op or call.op == "pad" else "other")
    zero = mode == "constant" and not call.get("value")
    labels = call.labels(source)
    if mode == "constant" and not zero:  # what is written around masked values is not zero
        labels = [x.soiled() if isinstance(x, Atoms) else x for x in labels]
    for k in range(len(widths) // 2):
        before, after = widths[2 * k], widths[2 * k + 1]
        d = source.dim() - 1 - k
        if before or after:
            labels[d] = _padded(call, labels[d], before, after, mode == "constant" and zero)
    call.give(out, labels)


def _padded(call: Call, label: Label, before: int, after: int, zero: bool) -> Label:
    if not isinstance(label, Atoms):
        return call.fixed("a padded dimension")
    if before < 0 or after < 0 or not zero:
        return call.refuse([label], "padding of this axis that is not zeros")
    return join(call, [(Free(True), before), (label, label.ids.size), (Free(True), after)])


@rule("flip", "roll", "fliplr", "flipud", "rot90")
def reorder(call: Call) -> None:
    """Which position a unit has matters: removing one would move the others past each other."""
    source = call.arguments["self"]
    if not isinstance(source, Tensor):
        source = call.tensors()[0]
    dims = call.get("dims") or range(source.dim())
    dims = [dims] if isinstance(dims, int) else dims
    advice = "Keep the layers that feed it out of the pruning, or reorder the weights instead of the activations."
    labels = call.labels(source)
    for d in dims:
        labels[d] = call.refuse([labels[d]], f"{call.op} reorders the positions of this axis", advice)
    call.give(call.out, labels)
