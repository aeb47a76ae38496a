"""Reductions, and operations that run along a dimension."""

from __future__ import annotations

from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label
from niwaki.graph.rules import rule

ALONG = [
    "softmax",
    "log_softmax",
    "_softmax",
    "_log_softmax",
    "cumsum",
    "cumprod",
    "cummax",
    "cummin",
    "logcumsumexp",
    "sort",
    "argsort",
    "topk",
    "msort",
    "kthvalue",
    "renorm",
    "normalize",
    "gumbel_softmax",
    "diff",
]
DOWN = [
    "mean",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "amax",
    "amin",
    "max",
    "min",
    "argmax",
    "argmin",
    "prod",
    "any",
    "all",
    "median",
    "nanmedian",
    "logsumexp",
    "norm",
    "linalg_vector_norm",
    "nansum",
    "count_nonzero",
    "aminmax",
    "mode",
]


@rule(*ALONG)
def along(call: Call) -> None:
    """Every position's result depends on the others in its row."""
    source = call.tensors()[0]
    dim = call.get("dim", -1)
    labels = call.passes(source, [dim], f"{call.op} runs over this axis")
    labels = [x.soiled() if isinstance(x, Atoms) and "softmax" in call.op else x for x in labels]
    for t in call.results():
        call.give(t, [Free() if n != m else x for x, n, m in zip(labels, t.shape, source.shape, strict=True)])


@rule("sum")
def total(call: Call) -> None:
    """A sum over an axis is the same masked and cut exactly if masked values are zero."""
    source = call.tensors()[0]
    labels = call.labels(source)
    for d in _dims(call, source):
        label = labels[d]
        if isinstance(label, Atoms) and not label.clean:
            call.refuse([label], "a sum over values that do not vanish when their unit is masked")
        call.play(label, "takes", "channel")
    _reduced(call, source, labels)


@rule(*DOWN)
def down(call: Call) -> None:
    """Averages and extremes over a prunable axis would change with its length."""
    if len(call.tensors()) == 2:
        call.pointwise(call.tensors(), "all")  # max(a, b) and min(a, b)
        return
    source = call.tensors()[0]
    labels = call.labels(source)
    for d in _dims(call, source):
        call.refuse([labels[d]], f"{call.op} over this axis changes with the number of its positions")
    keeps = call.op in ("mean", "amax", "amin", "max", "min", "prod", "norm", "linalg_vector_norm", "median")
    _reduced(call, source, [x if keeps or not isinstance(x, Atoms) else x.soiled() for x in labels])


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
