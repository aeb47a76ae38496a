"""Reductions, and operations that run along a dimension."""

from __future__ import annotations

from functools import partial

import numpy as np
from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label, Reason, soiled
from niwaki.graph.ledger import Extent
from niwaki.graph.rules import rule
from niwaki.graph.rules.contract import UNCLEAN

SOFTMAX = ["softmax", "log_softmax", "_softmax", "_log_softmax"]
ALONG = [
    "cumprod",
    "cummax",
    "cummin",
    "logcumsumexp",
    "sort",
    "argsort",
    "msort",
    "kthvalue",
    "renorm",
    "normalize",
    "diff",
]
RANKS = ["argsort", "logcumsumexp"]
"""Of :data:`ALONG`, those whose result is not zero where all of a row is."""
AVERAGES = ["mean", "nanmean", "var", "std", "var_mean", "std_mean"]
DOWN = [
    "amax",
    "amin",
    "max",
    "min",
    "argmin",
    "prod",
    "any",
    "all",
    "median",
    "nanmedian",
    "logsumexp",
    "count_nonzero",
    "aminmax",
    "mode",
]


@rule(*ALONG)
def along(call: Call) -> None:
    """Every position's result depends on the others in its row."""
    source = call.tensors()[0]
    dim = (0 if call.op == "msort" else call.get("dim", -1)) % max(1, source.dim())
    labels = call.passes(source, [dim], f"{call.op} runs over this axis")
    call.mixes(labels, dim)
    for k, t in enumerate(call.results()):
        own = [soiled(x) for x in labels] if k or call.op in RANKS else labels  # the second result are positions
        if t.dim() < source.dim():
            call.give(t, [x for d, x in enumerate(own) if d != dim])
        else:
            call.give(t, [Free() if n != m else x for x, n, m in zip(own, t.shape, source.shape, strict=True)])


@rule(*SOFTMAX)
def softmax(call: Call) -> None:
    """Shares of a whole: what stays has more of it after a cut. With removed positions left out they are zero there."""
    source = call.tensors()[0]
    labels = call.labels(source)
    dim = call.get("dim", -1) % max(source.dim(), 1)
    met = call.statistics(labels[dim], dim) if labels else Free()
    call.mixes(labels, dim)
    labels = [x.soiled() if isinstance(x, Atoms) else x for x in labels]
    if labels:
        labels[dim] = Atoms(met.ids, "log" not in call.op) if isinstance(met, Atoms) else met
    call.give(call.out, labels)


@rule("topk", "argmax")
def picks(call: Call) -> None:
    """The largest of a row: with removed positions left out, the same ones as after a cut. What is picked is known by
    its position, and positions are counted anew after a cut."""
    source = call.tensors()[0]
    labels = call.labels(source)
    dim = call.get("dim", -1)
    if dim is None or not labels:
        return down(call)
    dim %= source.dim()
    label = call.statistics(labels[dim], dim)
    if isinstance(label, Atoms):
        call.at_least(label, call.get("k", 1))
        call.give_domain(call.results()[-1], label.ids)
    labels[dim] = call.fixed(f"the positions that {call.op} picked")
    rest = [x.soiled() if isinstance(x, Atoms) else x for x in labels]
    for t in call.results():
        call.give(t, rest if t.dim() == source.dim() else [x for k, x in enumerate(rest) if k != dim])


@rule("histc", "bincount", "one_hot")
def counts(call: Call) -> None:
    """How often each position was picked, or where: one entry per position of what the numbers count."""
    source, out = call.tensors()[0], call.results()[0]
    ids = call.domain(source)
    # A masked number is zero, which is a position like any other.
    labels = [soiled(x) for x in call.labels(source)] if call.op == "one_hot" else []
    length = out.shape[-1]
    if ids is None or length < ids.size:
        call.refuse(call.labels(source), f"{call.op} of these numbers")
        return call.give(out, [*labels, call.fixed(f"the classes of {call.op}")])
    more = call.ledger.new(length - ids.size)
    call.ledger.block(more, Reason("positions of fixed number", call.site))
    call.ledger.extents.append(Extent(ids, call.site.module))
    call.give(out, [*labels, Atoms(np.concatenate([ids, more]), True)])


@rule("cumsum")
def cumsum(call: Call) -> None:
    """Sums up to each position: masked zeros add nothing to those after them."""
    source = call.tensors()[0]
    labels = call.labels(source)
    dim = call["dim"] % max(source.dim(), 1)
    call.mixes(labels, dim)
    _count(call, source, [dim])
    if labels and isinstance(label := labels[dim], Atoms):
        labels[dim] = label.soiled() if label.clean else call.refuse([label], UNCLEAN)
    call.give(call.out, labels)


@rule("sum", "nansum", "norm", "linalg_vector_norm")
def total(call: Call) -> None:
    """A sum over an axis is the same masked and cut exactly if masked values are zero; so is the root of a sum."""
    order = call.get("ord", call.get("p", 2))
    if call.op in ("norm", "linalg_vector_norm") and not (isinstance(order, (int, float)) and order > 0):
        return down(call)
    source = call.tensors()[0]
    labels = call.labels(source)
    _count(call, source, _dims(call, source))
    for d in _dims(call, source):
        label = labels[d]
        if isinstance(label, Atoms) and not label.clean:
            call.refuse([label], UNCLEAN)
        call.play(label, "takes", "channel")
    _reduced(call, source, labels)


@rule(*AVERAGES)
def average(call: Call) -> None:
    """An average over a prunable axis is taken over fewer values after a cut: the statistics change."""
    source = call.tensors()[0]
    labels = call.labels(source)
    for d in _dims(call, source):
        for t in call.results():
            call.when_used(t, partial(call.statistics, labels[d], d))
        if d == source.dim() - 1:
            call.hint(labels[d], "normed")
    _reduced(call, source, [x if call.op == "mean" or not isinstance(x, Atoms) else x.soiled() for x in labels])


@rule(*DOWN)
def down(call: Call) -> None:
    """Extremes over a prunable axis may change with a zero among its values."""
    if len(call.tensors()) == 2:
        call.pointwise(call.tensors(), "all")  # max(a, b) and min(a, b)
        return
    source = call.tensors()[0]
    labels = call.labels(source)
    _count(call, source, _dims(call, source))
    for d in _dims(call, source):
        call.refuse([labels[d]], f"{call.op} over this axis changes with the number of its positions")
    keeps = call.op in ("amax", "amin", "max", "min", "prod", "norm", "linalg_vector_norm", "median")
    _reduced(call, source, [x if keeps or not isinstance(x, Atoms) else x.soiled() for x in labels])


def _count(call: Call, source: Tensor, dims: list[int]) -> None:
    """A sum of ones, in whatever disguise, is a length."""
    labels = call.labels(source)
    call.counts(*(source.shape[d] for d in dims if source.dim() and not isinstance(labels[d], Atoms)))


def _dims(call: Call, source: Tensor) -> list[int]:
    dims = call.get("dim")
    every = range(source.dim()) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return [d % source.dim() for d in every] if source.dim() else []


def _reduced(call: Call, source: Tensor, labels: list[Label]) -> None:
    gone = set(_dims(call, source))
    for t in call.results():
        if t.dim() == source.dim():
            call.give(t, [Free() if k in gone else x for k, x in enumerate(labels)])
        else:
            call.give(t, [x for k, x in enumerate(labels) if k not in gone])
