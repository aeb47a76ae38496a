"""Let the config say what a cut left, where it can."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from niwaki.surgery.hugging.compare import differences, first_length, recomputed, told, uncounted
from niwaki.surgery.hugging.facts import sizes
from niwaki.surgery.hugging.fields import Field, changed, fields, is_config
from niwaki.surgery.hugging.rebuild import is_configured
from niwaki.surgery.hugging.search import Built, Search, lengths
from niwaki.units import Plan

logger = logging.getLogger("niwaki")


@dataclass(frozen=True)
class Following:
    """What became of a model's config. ``fields``: dotted name to the value before and after. ``reason``: why it is
    still the dense model's; empty if stock code builds the cut model from it."""

    fields: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    reason: str = ""

    @property
    def follows(self) -> bool:
        return not self.reason

    def __str__(self) -> str:
        if self.reason:
            return f"the config stays the dense model's: {self.reason}"
        return "the config follows: " + ", ".join(f"{name} {a} → {b}" for name, (a, b) in self.fields.items())


def follow_config(model: nn.Module, plans: Iterable[Plan]) -> Following | None:
    """Set the fields of ``model.config`` so that its class builds a model of just these sizes and numbers from it; all
    or none. The config is replaced by a copy: other models may hold the same one. None if there is no config.

    Args:
        model: after the cut. plans: what was cut from the model of which the config tells, likeliest first.
    """
    if not is_configured(model):
        return None
    try:
        told = _followed(model, list(plans))
    except Exception as trouble:  # code of any model was run on sizes that it never saw; the cut itself is done
        told = Following(reason=f"no answer was found to which values it needs ({type(trouble).__name__}: {trouble})")
    if told.follows:
        logger.info("%s: %s", type(model).__name__, told)
    else:
        logger.warning("%s: %s. Keep it with nk.save and nk.load.", type(model).__name__, told)
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
    if uneven:
        return Following(reason=uneven)
    return _found(model, search, dense, plan)


def _found(model: nn.Module, search: Search, dense: Built, plan: Plan) -> Following:
    wanted = lengths(model)
    reason = ""
    for built in search.fitting(dense, wanted):
        trouble = _trouble(model, built, dense, plan)
        if not trouble:
            before = fields(model.config)
            for (name, attribute), n in uncounted(built.model, model, plan).items():
                setattr(model.get_submodule(name), attribute, n)
            put(model, built.values)
            return Following({str(f): (before[f], n) for f, n in built.values.items()})
        reason = reason or trouble
    near = search.nearest or dense
    return Following(reason="in a model that is built from it, " + (reason or first_length(near.lengths, wanted)))


def _trouble(model: nn.Module, built: Built, dense: Built, plan: Plan) -> str:
    """What a model of fitting tensors would do otherwise than the cut one; empty if nothing."""
    table = next(recomputed(built.model, dense.model), None)
    if table is not None:
        return f"{table!r} would be computed to other values, and it is not saved"
    return next((told(d) for d in differences(built.model, model, dense.model, plan)), "")


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


def put(model: nn.Module, values: Mapping[Field, int | None]) -> None:
    """Give the model a config with these values, in all places that held the old one or a part of it."""
    memo: dict[int, Any] = {}
    fresh = changed(model.config, values, memo)
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if is_config(value) and id(value) in memo:
                setattr(module, name, memo[id(value)])
    model.config = fresh


__all__ = ["Following", "follow_config", "put"]
