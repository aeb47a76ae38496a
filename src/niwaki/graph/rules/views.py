"""The same values in another shape or order of dimensions."""

from __future__ import annotations

import numpy as np

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label
from niwaki.graph.reshape import reshape
from niwaki.graph.rules import rule
from niwaki.graph.rules.contract import interleaved

SAME = [
    "contiguous",
    "clone",
    "detach",
    "alias",
    "to",
    "type_as",
    "lift_fresh",
    "lift",
    "lift_fresh_copy",
    "_to_copy",
    "requires_grad",
    "view_as_real_copy",
    "float",
    "double",
    "half",
    "bfloat16",
    "cpu",
    "cuda",
    "resolve_conj",
    "resolve_neg",
    "conj",
    "_conj",
    "positive",
    "detach_copy",
    "data",
    "pin_memory",
]


@rule(*SAME)
def same(call: Call) -> None:
    call.like(call.tensors()[0])


@rule("copy")
def copy(call: Call) -> None:
    """``target.copy_(source)``: the target is overwritten."""
    target, source = call.tensors()[:2]
    labels = call.labels(source)
    missing = target.dim() - len(labels)
    call.give(
        target,
        [*call.labels(target)[:missing], *labels] if target.shape[missing:] == source.shape else _met(call),
    )


def _met(call: Call) -> list[Label]:
    return call.pointwise(call.tensors()[:2], "none")


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as", "_reshape_alias")
def view(call: Call) -> None:
    source, out = call.tensors()[0], call.results()[0]
    if call.op == "view" and call.get("dtype") is not None:
        return call.like(source)
    call.give(out, reshape(call, call.labels(source), source.shape, out.shape))


@rule("permute")
def permute(call: Call) -> None:
    labels = call.labels(call.arguments["self"])
    call.give(call.out, [labels[d] for d in call["dims"]])


@rule("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "adjoint", "matrix_H")
def transpose(call: Call) -> None:
    labels = call.labels(call.arguments["self"])
    if call.op == "numpy_T":
        return call.give(call.out, labels[::-1])
    first = call.get("dim0", call.get("axis0", -1 if call.op in ("mT", "adjoint", "matrix_H") else 0))
    second = call.get("dim1", call.get("axis1", -2 if call.op in ("mT", "adjoint", "matrix_H") else -1))
    if labels:
        labels[first], labels[second] = labels[second], labels[first]
    call.give(call.out, labels)


@rule("movedim", "moveaxis")
def movedim(call: Call) -> None:
    source = call.arguments["self"]
    come, go = call["source"], call["destination"]
    come, go = ([come], [go]) if isinstance(come, int) else (list(come), list(go))
    come, go = [d % source.dim() for d in come], [d % source.dim() for d in go]
    order = [d for d in range(source.dim()) if d not in come]
    for destination, origin in sorted(zip(go, come, strict=True)):
        order.insert(destination, origin)
    labels = call.labels(source)
    call.give(call.out, [labels[d] for d in order])


@rule("unsqueeze")
def unsqueeze(call: Call) -> None:
    labels = call.labels(call.arguments["self"])
    labels.insert(call["dim"] % (len(labels) + 1), Free())
    call.give(call.out, labels)


@rule("squeeze")
def squeeze(call: Call) -> None:
    source = call.arguments["self"]
    lengths, dims = call.lengths(source), call.get("dim")
    dims = range(len(lengths)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {d % len(lengths) for d in dims if lengths and lengths[d] == 1}
    call.give(call.out, [x for d, x in enumerate(call.labels(source)) if d not in gone])


@rule("expand", "expand_as", "broadcast_to")
def expand(call: Call) -> None:
    source, out = call.tensors()[0], call.results()[0]
    labels, new = call.labels(source), out.dim() - source.dim()
    result: list[Label] = []
    for k, n in enumerate(out.shape):
        if k >= new and source.shape[k - new] == n:
            result.append(labels[k - new])
            continue
        old = labels[k - new] if k >= new else Free()
        result.append(Free() if n == 1 else call.virtual(n, clean=isinstance(old, Free) and old.zero))
    call.give(out, result)


@rule("repeat", "tile")
def repeat(call: Call) -> None:
    """Whole copies one after another: position ``i`` of ``n`` repeats stands for unit ``i mod n``."""
    source, out = call.tensors()[0], call.results()[0]
    labels: list[Label] = [Free()] * (out.dim() - source.dim()) + call.labels(source)
    sizes = [1] * (out.dim() - source.dim()) + list(source.shape)
    result: list[Label] = []
    for label, before, after in zip(labels, sizes, out.shape, strict=True):
        if isinstance(label, Atoms) and before != after:
            label = Atoms(np.tile(label.ids, after // before), label.clean)
        elif isinstance(label, Free) and before != after and before > 1:
            label = Free(label.zero)
        elif before == 1 and after > 1 and not isinstance(label, Free):
            label = call.fixed("a repeated dimension")
        result.append(label)
    call.give(out, result)


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> None:
    """Each position several times in a row: position ``i`` of ``n`` stands for unit ``i // n``."""
    source, out, dim = call.arguments["self"], call.out, call.get("dim")
    labels = call.labels(source)
    if dim is None or not isinstance(call.get("repeats"), int):
        return call.give(out, [call.refuse(labels, "repeat_interleave with varying counts")] * out.dim())
    label = labels[dim]
    if isinstance(label, Atoms) and call["repeats"] > 1:
        labels[dim] = interleaved(call, label, call["repeats"])
    call.give(out, labels)


@rule("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def shuffle(call: Call) -> None:
    """Rearrangements that are a reshape, a permute and a reshape; the factor written in the code stays."""
    source, out = call.arguments["self"], call.out
    lead, (c, h, w) = list(source.shape[:-3]), source.shape[-3:]
    labels = call.labels(source)
    head, tail = labels[: len(lead)], labels[len(lead) :]
    if call.op == "pixel_shuffle":
        r = call["upscale_factor"]
        first, order = [c // r**2, r, r, h, w], [0, 3, 1, 4, 2]
    elif call.op == "pixel_unshuffle":
        r = call["downscale_factor"]
        first, order = [c, h // r, r, w // r, r], [0, 2, 4, 1, 3]
    else:
        first, order = [call["groups"], c // call["groups"], h, w], [1, 0, 2, 3]
    parts = reshape(call, tail, [c, h, w], first)
    keep = 1 if "channel" in call.op else 0
    for k, label in enumerate(parts):
        if k != keep and isinstance(label, Atoms):
            parts[k] = label if "unshuffle" in call.op else call.refuse([label], "a factor written in the code")
    moved = [parts[k] for k in order]
    call.give(out, head + reshape(call, moved, [first[k] for k in order], out.shape[len(lead) :]))
