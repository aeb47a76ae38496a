"""Let the config say what a cut left, where it can."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from niwaki.surgery.hugging.compare import differences, first_length, recomputed, told, uncounted
from niwaki.surgery.hugging.describe import how_it_loads, note
from niwaki.surgery.hugging.facts import sizes
from niwaki.surgery.hugging.fields import (
    Field,
    changed,
    configs,
    give,
    is_layered,
    layers_of,
    value_of,
)
from niwaki.surgery.hugging.layers import Matters, by_layer
from niwaki.surgery.hugging.rebuild import is_configured
from niwaki.surgery.hugging.search import Built, Search, lengths
from niwaki.units import Plan

logger = logging.getLogger("niwaki")
_tells = ContextVar("tells", default=True)


@dataclass(frozen=True)
class Following:
    """What became of a model's config. ``fields``: dotted name to the value before and after. ``reason``: why stock
    code does not build the cut model from it; empty if it does. With both, the config tells what is left of every
    layer, and the code of this class does not read it."""

    fields: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    reason: str = ""

    @property
    def follows(self) -> bool:
        return not self.reason

    def __str__(self) -> str:
        if not self.fields:
            return f"the config stays the dense model's: {self.reason}"
        told = ", ".join(_shortened(self.fields))
        return (
            f"the config tells {told}; stock code does not build it: {self.reason}"
            if self.reason
            else (f"the config follows: {told}")
        )


def _shortened(values: Mapping[str, tuple[int | None, int | None]]) -> Iterator[str]:
    """One text for a field, with the least and the most over all layers."""
    found: dict[str, list[tuple[int | None, int | None]]] = {}
    for name, pair in values.items():
        found.setdefault(re.sub(r"\[\d+\]\.", ".", name), []).append(pair)
    for name, pairs in found.items():
        sides = (sorted({n for n in side if n is not None}) for side in zip(*pairs, strict=True))
        yield f"{name} " + " → ".join("–".join(map(str, s[:1] + s[1:][-1:])) or "None" for s in sides)


@contextmanager
def untold() -> Iterator[None]:
    """Inside, cuts are trials: their configs follow as always, and the log says nothing of it."""
    before = _tells.set(False)
    try:
        yield
    finally:
        _tells.reset(before)


def follow_config(model: nn.Module, plans: Sequence[Plan]) -> Following | None:
    """Set the fields of ``model.config`` so that its class builds a model of just these sizes and numbers from it; all
    or none. Where none, a model of transformers gets a ``quantization_config`` that tells the sizes. The config is
    replaced by a copy: other models may hold the same one. None if there is no config.

    Args:
        model: after the cut. plans: what was cut from the model of which the config tells, likeliest first; the last is
            all that is known.
    """
    if not is_configured(model):
        return None
    try:
        told = _followed(model, list(plans))
    except Exception as trouble:  # code of any model was run on sizes that it never saw; the cut itself is done
        told = Following(reason=f"no answer was found to which values it needs ({type(trouble).__name__}: {trouble})")
    found = note(model, plans[-1])
    if not _tells.get():
        return told
    if told.follows:
        logger.info("%s: %s", type(model).__name__, told)
    else:
        logger.warning("%s: %s. %s", type(model).__name__, told, how_it_loads(found))
    return told


def _followed(model: nn.Module, plans: list[Plan]) -> Following:
    search = Search(type(model), model.config)
    dense = search.build({})
    if dense is None:
        return Following(reason=f"{type(model).__name__}(config) cannot be built")
    plan = next((p for p in plans if _is_of(dense, p)), None)
    if plan is None:
        return Following(reason="the model was not what its config says before the cut either")
    uneven = _uneven(plan)
    told = Following(reason=uneven) if uneven else _found(model, search, dense, plan)
    return told if told.follows else _found_by_layer(model, search, dense, plan, told.reason)


def _found(model: nn.Module, search: Search, dense: Built, plan: Plan) -> Following:
    wanted = lengths(model)
    reason = ""
    for built in search.fitting(dense, wanted):
        trouble = _trouble(model, built, dense.model, plan)
        if not trouble:
            return _written(model, built, plan)
        reason = reason or trouble
    near = search.nearest or dense
    return Following(reason="in a model that is built from it, " + (reason or first_length(near.lengths, wanted)))


def _found_by_layer(model: nn.Module, search: Search, dense: Built, plan: Plan, reason: str) -> Following:
    """What a config can say of every layer. Where stock code does not listen, it is said all the same if nothing else
    has changed: whoever builds the dense model from such a config still gets the dense model."""

    def trouble(built: Built, dense: nn.Module, matters: Matters) -> str:
        return _trouble(model, built, dense, plan, matters)

    values = by_layer(model, dense.model, plan, trouble)
    if values == {}:
        values = layers_of(model.config)  # it says so already, if it was read from a file
    if not values:
        return Following(reason=reason)
    built = search.build(values)
    if built is not None:
        wanted = lengths(model)
        fits = all(wanted.get(place) == built.lengths[place] for place in sizes(built.model))
        if fits and not _trouble(model, built, dense.model, plan):
            return _written(model, built, plan)
    if any(f.layer < 0 for f in values):
        return Following(reason=reason)
    told = Following(_said(model.config, values), reason)
    put(model, values, dense=True)
    return told


def _written(model: nn.Module, built: Built, plan: Plan) -> Following:
    said = _said(model.config, built.values)
    for (name, attribute), n in uncounted(built.model, model, plan).items():
        setattr(model.get_submodule(name), attribute, n)
    put(model, built.values)
    return Following(said)


def _said(config: Any, values: Mapping[Field, int | None]) -> dict[str, tuple[int | None, int | None]]:
    """Fields that change, with the value before and after; and what was already said of a layer alone."""
    said: dict[str, tuple[int | None, int | None]] = {}
    for each, after in values.items():
        whole, before = value_of(config, replace(each, layer=-1)), value_of(config, each)
        if whole != after or before != after:
            said[str(each)] = (before if before != after else whole, after)
    return said


def _trouble(model: nn.Module, built: Built, dense: nn.Module, plan: Plan, matters: Matters = lambda name: True) -> str:
    """What a model of fitting tensors would do otherwise than the cut one, where it matters; empty if nothing."""
    table = next((name for name in recomputed(built.model, dense) if matters(name)), None)
    if table is not None:
        return f"{table!r} would be computed to other values, and it is not saved"
    found = differences(built.model, model, dense, plan)
    return next((told(d) for d in found if matters(d[0][0])), "")


def _is_of(dense: Built, plan: Plan) -> bool:
    """Does the config tell of the model that the plan was made for?"""
    found = sizes(dense.model)
    return all(found.get((name, d)) == n for name, shape in plan.tensors.items() for d, n in enumerate(shape))


def _uneven(plan: Plan) -> str:
    """Layers that were alike and no longer are, for which one config has one number only."""
    first: dict[tuple[str, tuple[int, ...]], str] = {}
    for name, shape in plan.tensors.items():
        other = first.setdefault((re.sub(r"(?<=\.)\d+(?=\.)", "N", name), shape), name)
        if plan.shape(other) != plan.shape(name):
            return f"{name!r} has shape {plan.shape(name)} now, and {other!r} {plan.shape(other)}; both had {shape}"
    return ""


def put(model: nn.Module, values: Mapping[Field, int | None], *, dense: bool = False) -> None:
    """Give the model a config with these values, in all places that held the old one or a part of it.

    Args: dense: who reads a number that is not the same in all layers gets the dense model's, and a warning.
    """
    memo: dict[int, Any] = {}
    fresh = changed(model.config, values, memo)
    for _, config in configs(fresh):
        if dense and is_layered(config):
            config.allow_global_per_layer_attribute_access = True
    give(model, fresh, memo)


__all__ = ["Following", "follow_config", "put", "untold"]
