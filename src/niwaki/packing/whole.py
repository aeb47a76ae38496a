"""Pack a model: what is dead goes, and each linear layer takes the form in which its zeros save time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import nn

from niwaki.errors import BadInput, UntraceableModel
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs
from niwaki.measure import latency
from niwaki.packed import PackedLinear, Packing, attach, packing_of
from niwaki.packing.baking import bake
from niwaki.packing.candidates import Candidate, candidates, linear_layers
from niwaki.packing.choose import Choice, Rule, asked, by_count, by_time, cheapest, dense_still
from niwaki.packing.removal import MADE_BY, Removal, remove_dead
from niwaki.packing.sameness import same
from niwaki.packing.sound import sound
from niwaki.surgery.certify import Check
from niwaki.surgery.cut import attach as attach_plan
from niwaki.surgery.cut import plan_of
from niwaki.surgery.hugging import how_it_loads, note
from niwaki.units import Plan
from niwaki.wrappers import unwrapped

Model = TypeVar("Model", bound=nn.Module)
logger = logging.getLogger("niwaki")


def pack(
    model: Model,
    inputs: Inputs,
    *,
    remove: bool = True,
    measure: bool = True,
    forms: Mapping[str, str] | str | None = None,
    margin: float = 0.1,
    runs: int = 15,
    threads: int | None = None,
    tick: Callable[[], None] | None = None,
) -> Model:
    """A copy of ``model`` in which zeros save time. ``model`` may have its zeros from anywhere.

    First, units that are dead in all tied tensors are removed through the coupling graph: those that nobody reads,
    those that give zeros whatever comes in, and those that give another constant, which the biases of their readers
    take on. Each removal is tried before it is kept. Then each ``nn.Linear`` (and ``Conv1D`` of transformers) with
    zeros gets one of the forms of ``niwaki.packing.FORMS``, or stays dense. What the packed model answers is compared
    with what ``model`` answers. ``print(nk.packing_of(packed))`` tells all that was decided, and why.

    Args:
        model: left as it is; in the training mode that it has. Out of ``torch.compile`` and data parallelism it is
            unwrapped. Masks of ``torch.nn.utils.prune`` are made permanent in the copy.
        inputs: as for :func:`niwaki.trace`, of the size that is served: forms are measured with the shapes that the
            layers then see.
        remove: False leaves all units where they are.
        measure: time each form against the dense layer, in turns (medians of ``runs``), on ``threads`` threads (as many
            as torch uses, if None). False counts multiply-adds and what is moved: a rule that knows no machine.
        forms: a form for all layers, or by name or pattern, ``{"encoder.*.dense": "rows_columns"}``; nothing is
            measured, what is not named stays dense. ``nk.packing_of(other).forms`` gives the same again.
        margin: a form must gain this share of the dense layer's time (or count), 0 to 1.
        tick: called after every measured layer (for a progress bar).

    Raises:
        BadInput: no model; forms that do not exist, or for no layer; a margin outside 0 to 1; no runs or threads; or a
            model whose answers are not finite, or differ from one call to the next, so that nothing can be shown.
        UntraceableModel: the model cannot be called with these inputs.
    """
    model = unwrapped(model, "the packed model")
    _check(model, margin, runs, threads)
    copy = duplicate(model)
    if any(isinstance(m, PackedLinear) for m in copy.modules()):
        attach(copy, replace(packing_of(copy) or Packing(), note="It was packed already: nothing to do."))
        return copy
    bake(copy)
    rule = _rule(forms, [name for name, _ in linear_layers(copy)], measure, margin, runs, threads, tick)
    _check_steady(copy, inputs)
    removal = remove_dead(copy, inputs) if remove and _has_zeros(copy) else Removal(copy)
    found = candidates(removal.model, inputs)
    packed, layers = sound(copy, removal.model, _choose(found, rule), inputs)
    if plan_of(packed) is None:
        attach_plan(packed, _nothing_removed(copy))
    told = Packing(
        layers, removal.removed, removal.left, measure and forms is None, {}, removal.note, _environment(copy, threads)
    )
    if told.measured and (told.forms or told.removed):
        told = replace(told, whole=_whole(model, packed, inputs, runs, threads))
    attach(packed, told)
    _tell_config(packed, plan_of(packed) or _nothing_removed(copy))
    return cast(Model, packed)


def _check(model: nn.Module, margin: float, runs: int, threads: int | None) -> None:
    if not isinstance(margin, (int, float)) or not 0 <= margin < 1:
        raise BadInput(f"margin is the share of time that a form must gain, from 0 to below 1; found {margin!r}")
    if type(runs) is not int or runs < 1:
        raise BadInput(f"runs must be a whole number of at least 1, found {runs!r}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise BadInput(f"threads must be a whole number of at least 1, or None for torch's own, found {threads!r}")
    if any(t.is_meta for t in model.parameters()):
        raise BadInput(f"{type(model).__name__} has tensors on the meta device, without values: load its weights first")


def _check_steady(model: nn.Module, inputs: Inputs) -> None:
    """A model that answers otherwise each time can be compared with nothing."""
    try:
        check = same(model, model, inputs)
    except (BadInput, NotImplementedError):
        raise
    except Exception as trouble:
        raise UntraceableModel(
            f"{type(model).__name__} could not be run on the inputs given: {type(trouble).__name__}: {trouble}. Check "
            "that model(*inputs) works by itself."
        ) from trouble
    if not check.holds:
        _require_finite(model, check)
        told = check.detail if check.worst is None else f"a relative difference of {check.worst:.1e}"
        raise BadInput(
            f"{type(model).__name__} does not give the same answer twice in eval mode ({told}), so that nothing can be "
            "shown of what replaces its layers. Seed what is random in its forward pass, and give inputs without "
            "values that are not finite."
        )


def _require_finite(model: nn.Module, check: Check) -> None:
    """Where answers are no numbers (the comparison then has no worst difference), tensors may be the reason."""
    if check.worst is not None:
        return
    buffers = dict(model.named_buffers())
    for name, t in (*model.named_parameters(), *buffers.items()):
        fine = t.detach().isfinite()
        if name in buffers:
            fine |= t == -torch.inf  # masks are that by right
        bad = int((~fine).sum())
        if bad:
            raise BadInput(
                f"{type(model).__name__} gives answers that are not finite, and {name!r} has {bad:,} of {t.numel():,} "
                "values that are NaN or infinite. Nothing can be compared: load weights that are whole."
            )


def _has_zeros(model: nn.Module) -> bool:
    """In anything but biases, of which zeros say nothing."""
    weights = (p.detach() for name, p in model.named_parameters() if "bias" not in name.rpartition(".")[2])
    return any(bool((w == 0).any()) for w in weights)


def _rule(
    forms: Mapping[str, str] | str | None,
    names: list[str],
    measure: bool,
    margin: float,
    runs: int,
    threads: int | None,
    tick: Callable[[], None] | None,
) -> Rule:
    if forms is not None:
        return asked(forms, names)
    if measure:
        return cheapest(margin, by_time(runs, threads, tick), "less time")
    return cheapest(margin, by_count, "fewer multiply-adds")


def _choose(found: Iterable[Candidate], rule: Rule) -> list[Choice]:
    """A choice for each layer; layers that share a weight take the one of the first."""
    first: dict[int, Choice] = {}
    chosen: list[Choice] = []
    for candidate in found:
        weight = id(candidate.module._parameters.get("weight"))
        if candidate.refusal:
            chosen.append((dense_still(candidate, candidate.refusal), None))
        elif weight in first:
            record, parts = first[weight]
            reason = f"as {record.name!r}, with which it shares its weight"
            chosen.append((replace(record, name=candidate.name, reason=reason, input=candidate.shape), parts))
        else:
            chosen.append(first.setdefault(weight, rule(candidate)))
    return chosen


def _nothing_removed(model: nn.Module) -> Plan:
    """A plan that takes nothing, by which a saved model knows its dense class."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}
    aliases = {name: first[id(t)] for name, t in named if first.setdefault(id(t), name) != name}
    shapes = {name: tuple(t.shape) for name, t in named if name not in aliases}
    return Plan(shapes, {}, aliases=aliases, made_by=MADE_BY)


def _tell_config(packed: nn.Module, plan: Plan) -> None:
    """Let the config say what it can of the packed model; once, since nothing is told of what was tried."""
    found = note(packed, plan)
    if found is not None:
        logger.warning("%s: the config stays the dense model's. %s", type(packed).__name__, how_it_loads(found))


def _environment(model: nn.Module, threads: int | None) -> dict[str, Any]:
    device = next((p.device.type for p in model.parameters()), "cpu")
    return {"torch": torch.__version__, "threads": threads or torch.get_num_threads(), "device": device}


def _whole(model: nn.Module, packed: nn.Module, inputs: Inputs, runs: int, threads: int | None) -> dict[str, float]:
    models = {"dense": model, "packed": packed}
    times = latency(models, inputs, threads=threads or torch.get_num_threads(), runs=runs, warmup=2)
    return {name: t.median_ms for name, t in times.items()}


__all__ = ["pack"]
