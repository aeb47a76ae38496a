"""Positions found by number or by a mask: read, written and added to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label
from niwaki.graph.rules import rule

Indices = Sequence[Tensor | None]


@rule(
    "index_select",
    "gather",
    "take_along_dim",
    "index",
    "embedding_renorm",
    "scatter",
    "scatter_add",
)
def lookup(call: Call) -> None:
    """Positions taken by a list of numbers. What is not indexed passes through where that is plain to see."""
    source, out = call.tensors()[0], call.results()[0]
    labels = call.labels(source)
    numbers = [t for t in call.tensors()[1:] if not t.is_floating_point()]
    call.refuse([x for t in numbers for x in call.labels(t)], "numbers of positions")
    if call.op == "index_select":
        d = call["dim"] % source.dim()
        labels[d] = _taken(call, labels[d], call["index"])
        return call.give(out, labels)
    if call.op == "index":
        return call.give(out, _indexed(call, labels, call["indices"]))
    blocked = call.refuse([x for t in call.tensors() for x in call.labels(t)], f"{call.op} with computed positions")
    call.give(out, [Free() if n == 1 else blocked for n in out.shape])


@rule("index_add", "index_copy")
def written(call: Call) -> None:
    """Rows of one tensor are added to (or put in place of) rows of another: what is in the rows stays in its place."""
    target, source, d = call.arguments["self"], call["source"], call["dim"]
    call.refuse(call.labels(call["index"]), "numbers of positions")
    labels = call.labels(target)
    for k, (here, there) in enumerate(zip(labels, call.labels(source), strict=True)):
        if k == d % target.dim():
            labels[k] = call.refuse([here, there], f"{call.op} with computed positions")
        else:
            labels[k] = call.meet([here, there])
    call.give(call.out, labels)


@rule("index_put")
def put(call: Call) -> None:
    """``source[indices] = values``: the dimensions that are not indexed meet those of the values. A mask under which
    one value is written, ``x[x < 0] = 0``, is as wide as what it masks and goes along."""
    source, values, indices = call["self"], call["values"], call["indices"]
    before = call.labels(source)
    if values.numel() == 1 and len(indices) == 1 and indices[0].dtype == torch.bool:
        labels = [call.meet(pair, "none") for pair in zip(before, call.labels(indices[0]), strict=False)]
        labels += before[len(labels) :]
    else:
        labels = _written(call, before, _read(call, list(before), indices), call.labels(values), values)
    call.give(call.out, [x.soiled() if isinstance(x, Atoms) and values.numel() == 1 else x for x in labels])


def _written(call: Call, source: list[Label], places: list[int | None], values: list[Label], t: Tensor) -> list[Label]:
    """The labels of ``source`` after ``values`` were put in; ``places``: which dimension of the source each of
    ``source[indices]`` is, as :func:`_read` says."""
    labels = [call.fixed(LISTED) if k not in places and isinstance(x, Atoms) else x for k, x in enumerate(source)]
    for back in range(1, len(places) + 1):
        place, there = places[-back], values[-back] if back <= len(values) else Free()
        if place is None:
            call.refuse([there], LISTED)
        elif back <= t.dim() and t.shape[-back] > 1:
            labels[place] = call.meet([labels[place], there])
        elif isinstance(here := labels[place], Atoms) and not (isinstance(there, Free) and there.zero):
            labels[place] = here.soiled()  # one value for all of them does not vanish where they are masked
    return labels


LISTED = "positions taken by a list of numbers"


def _indexed(call: Call, labels: list[Label], indices: Indices) -> list[Label]:
    """``source[indices]``."""
    extent = call.fixed(LISTED)
    return [extent if k is None else labels[k] for k in _read(call, labels, indices)]


def _read(call: Call, labels: list[Label], indices: Indices) -> list[int | None]:
    """For each dimension of ``source[indices]``, which one of the source it is: None for those of the indices, which
    stand where the first of the indexed ones stood, or in front if they stood apart. What is indexed is blocked. A mask
    takes as many dimensions as it has, and gives one."""
    result: list[int | None] = []
    places: list[int] = []
    wide = [0]
    d = 0
    for index in indices:
        if index is None:
            result.append(d)
            d += 1
            continue
        masks = index.dtype == torch.bool
        span = index.dim() if masks else 1
        wide.append(1 if masks else index.dim())
        for k in range(d, d + span):
            _taken(call, labels[k], index)
        places.append(len(result))
        d += span
    result += range(d, len(labels))
    # Between adjacent indices nothing was put into the result, so that they all stood in the same place.
    place = places[0] if places and len(set(places)) == 1 else 0
    return [*result[:place], *([None] * max(wide)), *result[place:]]


def _taken(call: Call, label: Label, index: Tensor) -> Label:
    """Positions taken by number stay, unless the numbers were found by looking at the very units."""
    ids = call.domain(index)
    if isinstance(label, Atoms) and ids is not None and ids.size == label.ids.size:
        call.ledger.tie(label.ids, ids, call.site)
        return call.fixed(LISTED)
    return call.refuse([label], LISTED)
