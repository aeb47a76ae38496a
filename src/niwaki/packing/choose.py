"""Which form each layer gets: asked for, measured, or counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, nearest, unknown_key
from niwaki.measure import interleaved
from niwaki.measure.hardware import synchronize
from niwaki.measure.speed import using_threads
from niwaki.packed import FORMS, PackedLayer, PackedLinear, Sizes, Split, split
from niwaki.packed.counts import counted
from niwaki.packed.matrices import is_transposed, matrix
from niwaki.packing.candidates import Candidate

Choice = tuple[PackedLayer, Split | None]
"""The record of a layer, and how its matrix is split; None if it stays dense."""
Rule = Callable[[Candidate], Choice]
Costs = Callable[[Candidate, Mapping[str, Split]], "dict[str, float]"]
"""What each form of a layer costs, the dense one included."""


def asked(forms: Mapping[str, str] | str, names: Sequence[str]) -> Rule:
    """The forms that the caller gives, one for all layers, or by name or pattern (``*``, ``?``); all others stay dense.

    Raises:
        BadInput: there is no such form, a pattern fits no linear layer, or forms are neither.
    """
    forms = {"*": forms} if isinstance(forms, str) else forms
    if not isinstance(forms, Mapping) or not all(isinstance(name, str) for name in forms):
        raise BadInput(
            f"forms must be one form for all layers ({', '.join(map(repr, FORMS))}), or a dict of forms by name or "
            f"pattern ({{'encoder.*': 'rows'}}), not {forms!r}"
        )
    for pattern, form in forms.items():
        if form not in FORMS:
            raise unknown_key("the table of forms", str(form), FORMS)
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise BadInput(f"forms names {pattern!r}, and no linear layer is called so{nearest(pattern, names) or '.'}")

    def choose(candidate: Candidate) -> Choice:
        form = next((forms[p] for p in forms if fnmatchcase(candidate.name, p)), "dense")
        parts = split(candidate.alive.numpy(), form)
        sizes = parts.sizes(transposed=is_transposed(candidate.module))
        if form == "dense" or _is_whole(sizes):
            reason = "as asked" if form == "dense" else f"{form} was asked for, and no row or column of it is empty"
            return _record(candidate, "dense", sizes, reason), None
        return _record(candidate, form, sizes, "as asked"), parts

    return choose


def cheapest(margin: float, costs: Costs, unit: str) -> Rule:
    """The form of the least cost, if that is less than the dense layer's by ``margin`` (a share of it). ``unit``: what
    is then told of the gain."""

    def choose(candidate: Candidate) -> Choice:
        offers = offered(candidate)
        cost = costs(candidate, offers)
        best = min(cost, key=lambda form: (cost[form], FORMS.index(form)))
        gain = 1 - cost[best] / cost["dense"] if cost["dense"] else 0.0
        if best == "dense" or gain < margin:
            reason = "dense is quickest" if best == "dense" else f"{best} gains {gain:.0%}, less than {margin:.0%}"
            return _record(candidate, "dense", _dense(candidate), reason, cost), None
        sizes = offers[best].sizes(transposed=is_transposed(candidate.module))
        return _record(candidate, best, sizes, f"{gain:.0%} {unit}", cost), offers[best]

    return choose


def offered(candidate: Candidate) -> dict[str, Split]:
    """The forms that are not the dense one, nor another form under a second name."""
    alive = candidate.alive.numpy()
    found: dict[str, Split] = {}
    seen = {_dense(candidate)}
    for form in FORMS[1:]:
        parts = split(alive, form)
        if (sizes := parts.sizes(transposed=is_transposed(candidate.module))) not in seen:
            seen.add(sizes)
            found[form] = parts
    return found


def by_count(candidate: Candidate, offers: Mapping[str, Split]) -> dict[str, float]:
    """Multiply-adds for one input vector, what is moved included."""
    return {"dense": counted(_dense(candidate)), **{form: counted(parts.sizes()) for form, parts in offers.items()}}


def by_time(runs: int, threads: int | None, tick: Callable[[], None] | None = None) -> Costs:
    """Milliseconds for an input of the shape that the layer is called with: medians, all forms in turns."""

    def costs(candidate: Candidate, offers: Mapping[str, Split]) -> dict[str, float]:
        layer, like = candidate.module, candidate.inputs
        assert like is not None
        built: dict[str, nn.Module] = {"dense": layer}
        for form, parts in offers.items():
            bias: Any = layer.bias
            built[form] = PackedLinear.of(matrix(layer), parts, bias, transposed=False, trains=False)
        device = next(layer.parameters()).device
        generator = torch.Generator().manual_seed(0)
        # Of the weight's type: inside autocast the layer may have been called with another.
        x = torch.randn(like.shape, generator=generator).to(device, matrix(layer).dtype)
        calls = {form: _call(module, x) for form, module in built.items()}
        with using_threads(threads or torch.get_num_threads()), torch.inference_mode():
            times = interleaved(calls, runs=runs, warmup=2)
        if tick is not None:
            tick()
        return {form: t.median_ms for form, t in times.items()}

    return costs


def dense_still(candidate: Candidate, reason: str) -> PackedLayer:
    """The record of a layer that stays as it is."""
    return _record(candidate, "dense", _dense(candidate), reason)


def _call(module: nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        module(x)
        synchronize(x.device)

    return run


def _is_whole(sizes: Sizes) -> bool:
    return sizes.rows is None and sizes.columns is None and not sizes.values


def _dense(candidate: Candidate) -> Sizes:
    outputs, inputs = matrix(candidate.module).shape
    return Sizes(outputs, inputs, transposed=is_transposed(candidate.module))


def _record(
    candidate: Candidate, form: str, sizes: Sizes, reason: str, cost: Mapping[str, float] | None = None
) -> PackedLayer:
    zeros = candidate.zeros if candidate.alive.numel() else 0.0
    return PackedLayer(candidate.name, form, sizes, zeros, reason, candidate.shape, dict(cost or {}))


__all__ = ["Rule", "asked", "by_count", "by_time", "cheapest", "dense_still", "offered"]
