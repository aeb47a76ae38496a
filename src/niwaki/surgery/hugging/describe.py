"""Say in a config how a cut model differs from the one that stock code builds from the config's fields."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from niwaki.surgery.hugging.compare import differences, told
from niwaki.surgery.hugging.facts import Place, computed, facts, left_out
from niwaki.surgery.hugging.fields import give
from niwaki.surgery.hugging.rebuild import is_configured, rebuilt
from niwaki.surgery.hugging.resize import after_loading, before_loading, fitted
from niwaki.surgery.hugging.uneven import METHOD, Number, Uneven, is_ours
from niwaki.surgery.standalone import bound
from niwaki.units import Axis, Plan

SAID = "quantization_config"


def note(model: Any, plan: Plan) -> Uneven | None:
    """Let ``model.config`` say of a cut model what its fields cannot, or no more; see :func:`described`."""
    if not _is_transformers(model):
        return None
    found = described(model, plan)
    before = getattr(model.config, SAID, None)
    if (found is not None or is_ours(before)) and (before is None or is_ours(before)):
        memo: dict[int, Any] = {}
        fresh = copy.deepcopy(model.config, memo)
        put_note(fresh, found)
        give(model, fresh, memo)
    if found is not None:
        saves_all(model)
    return found


def saves_all(model: Any) -> None:
    """What a class leaves out when it saves (tables of positions, say) is computed anew for whoever loads: for other
    sizes, or with other values than were there. A cut model saves it."""
    if getattr(model, "_keys_to_ignore_on_save", None):
        model._keys_to_ignore_on_save = set()


def put_note(config: Any, found: Uneven | None) -> None:
    """Write it into a config, or take it out. What another library says there stays."""
    before = getattr(config, SAID, None)
    if found is not None and (before is None or is_ours(before)):
        setattr(config, SAID, found.to_json())
    elif is_ours(before):
        delattr(config, SAID)


def described(model: Any, plan: Plan) -> Uneven | None:
    """How the cut model differs; None if stock code builds one of its sizes, or it is no model of ``transformers``.

    It is tried: only if a fresh model, changed by what was found, keeps all that the cut one keeps, it is said.

    Args:
        plan: all that was cut, as far as is known.
    """
    if not _is_transformers(model):
        return None
    kind = type(model).__name__
    other = getattr(model.config, SAID, None)
    if other is not None and not is_ours(other):
        return Uneven(kind, refused=f"its config says already how another library quantized it: {_method(other)}")
    foreign = bound(model)
    if foreign:
        return Uneven(kind, refused=f"{foreign} computes by niwaki's code")
    try:
        return _described(model, plan)
    except Exception as trouble:  # code of any model was run on sizes that it never saw
        return Uneven(kind, refused=f"what it differs in was not found ({type(trouble).__name__}: {trouble})")


def _described(model: Any, plan: Plan) -> Uneven | None:
    kind = type(model).__name__
    config = copy.deepcopy(model.config)
    earlier = getattr(config, SAID, None)
    put_note(config, None)
    built, dense = rebuilt(type(model), config), rebuilt(type(model), config)
    saved = _shapes(built)
    tensors = {name: shape for name, shape in _shapes(model).items() if saved.get(name) != shape}
    if not tensors:
        return None
    anew = next((name for name in left_out(built) if name in tensors), "")
    if anew:
        return Uneven(kind, refused=f"its class leaves out {anew!r} when it saves, and computes it anew")
    tables = dict(_tables(model, built, plan, Uneven.from_json(earlier) if earlier else Uneven(kind)))
    found = Uneven(kind, tensors, dict(_numbers(model, built)), tables)
    found = fitted(found, built)
    before_loading(found, built)
    after_loading(found, built)
    trouble = _trouble(built, model, dense, plan)
    return Uneven(kind, refused=trouble) if trouble else found


def _trouble(built: nn.Module, model: nn.Module, dense: nn.Module, plan: Plan) -> str:
    """What the rebuilt model would do otherwise than the cut one; empty if nothing."""
    left = differences(built, model, dense, plan)
    if left:
        return f"in a model that is built from it, {told(left[0])}"
    there = computed(built)
    for name, t in computed(model).items():
        was = there[name]
        same = t.shape == was.shape and (t.is_meta or was.is_meta or bool((t.cpu() == was.to(t.dtype).cpu()).all()))
        if not same and t.shape != computed(dense)[name].shape:
            return f"{name!r} is neither saved nor made of what the class computes"
    return ""


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of what is saved, under all names."""
    return {name: tuple(t.shape) for name, t in model.state_dict(keep_vars=True).items()}


def _numbers(model: nn.Module, built: nn.Module) -> Iterator[tuple[Place, Number]]:
    """Whole numbers, and tuples of them, that are smaller than in the dense model."""
    there = dict(built.named_modules(remove_duplicate=False))
    for name, module in model.named_modules(remove_duplicate=False):
        for attribute, value in vars(module).items():
            if not attribute.startswith("_") and _less(value, vars(there[name]).get(attribute)):
                yield (name, attribute), value
    before = facts(built)
    for place, value in facts(model).items():
        if place[1].startswith("config.") and type(value) is int and _less(value, before.get(place)):
            yield place, value


def _less(value: Any, before: Any) -> bool:
    if type(value) is not type(before) or value == before:
        return False
    pairs = zip(value, before, strict=False) if isinstance(value, tuple) else [(value, before)]
    same_length = not isinstance(value, tuple) or len(value) == len(before)
    return same_length and all(type(n) is type(m) is int and 0 < n <= m for n, m in pairs)


def _tables(model: nn.Module, built: nn.Module, plan: Plan, earlier: Uneven) -> Iterator[tuple[Axis, tuple[int, ...]]]:
    """Of tensors that nobody saves: which of the class's own entries went, in all cuts."""
    dense = computed(built)
    for name, t in computed(model).items():
        for dim, (n, before) in enumerate(zip(t.shape, dense[name].shape, strict=True)):
            if n == before:
                continue
            axis = Axis(name, dim)
            gone, then = earlier.tables.get(axis, ()), plan.removed.get(axis, ())
            if len(gone) == before - n:  # the config tells of this very cut already
                yield axis, gone
                continue
            if plan.tensors.get(name, ())[dim : dim + 1] == (before,):
                gone = ()  # the plan goes back to the dense model itself
            kept = [i for i in range(before) if i not in set(gone)]
            yield axis, tuple(sorted({*gone, *(kept[i] for i in then)}))


def _is_transformers(model: Any) -> bool:
    library = sys.modules.get("transformers.modeling_utils")
    return library is not None and is_configured(model) and isinstance(model, library.PreTrainedModel)


def _method(said: Any) -> str:
    method = said.get("quant_method") if isinstance(said, Mapping) else getattr(said, "quant_method", None)
    return str(getattr(method, "value", method))


def how_it_loads(found: Uneven | None) -> str:
    """A sentence on what loads the saved model."""
    if found is None:
        return "Keep it with nk.save and nk.load."
    if found.refused:
        return f"from_pretrained cannot load it: {found.refused}. Keep it with nk.save and nk.load."
    registry = sys.modules.get("transformers.quantizers.auto")
    if METHOD not in getattr(registry, "AUTO_QUANTIZER_MAPPING", {}):
        version = getattr(sys.modules.get("transformers"), "__version__", "")
        return (
            f"transformers {version} has no registry of quantizers that niwaki could enter, so that from_pretrained "
            "cannot load it here: take a newer one, or keep it with nk.save and nk.load."
        )
    return "Saved by nk.save or save_pretrained, it is loaded by from_pretrained where niwaki is imported."


__all__ = ["described", "how_it_loads", "note", "put_note"]
