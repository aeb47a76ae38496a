"""Tensors made on the spot."""

from __future__ import annotations

from niwaki.graph.call import Call
from niwaki.graph.labels import Fixed, Free, Label
from niwaki.graph.rules import rule


@rule(
    "zeros",
    "zeros_like",
    "new_zeros",
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "zero",
    "new_empty_strided",
)
def zeros(call: Call) -> None:
    for t in call.results():
        call.give(t, [call.made(n, zero=True) for n in t.shape])


@rule("ones", "ones_like", "new_ones", "full", "full_like", "new_full", "fill", "scalar_tensor", "scalar_type")
def constants(call: Call) -> None:
    for t in call.results():
        call.give(t, [call.made(n) for n in t.shape])


@rule(
    *[
        "arange",
        "linspace",
        "logspace",
        "eye",
        "tril_indices",
        "triu_indices",
        "rand",
        "randn",
        "randint",
        "randperm",
        "rand_like",
        "randn_like",
        "randint_like",
        "bernoulli",
        "normal",
        "uniform",
        "exponential",
        "multinomial",
    ]
)
def ramps(call: Call) -> None:
    """Values that differ by position: they would not be the same ones after a cut."""
    label = call.fixed("a tensor made in forward whose values differ by position")
    call.counts(*(n for t in call.results() for n in t.shape))
    for t in call.results():
        call.give(t, [_one(n, label) for n in t.shape])


def _one(length: int, label: Fixed) -> Label:
    return Free() if length == 1 else label
