"""Save and load: ``model.safetensors`` and a readable ``plan.json``; of a packed model ``packing.json`` too. Nothing is
ever unpickled.

Of a Hugging Face model the config is written too. Where it could follow the cut, stock code loads the folder. Beside it
lies a short loader that needs no niwaki, but for modules that compute by code of niwaki's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from niwaki.disk import PLAN, Checkpoint, bytes_of, layout, write
from niwaki.errors import BadInput, BrokenFile
from niwaki.graph.copies import duplicate
from niwaki.packed import PackedLinear, Packing, packing_of, rebuild
from niwaki.ranks import Ranks, fully_sharded, plainly, resharded
from niwaki.surgery.cut import attach, cut_, plan_of, shapes_of
from niwaki.surgery.hugging import is_configured, write_configs
from niwaki.surgery.numbers import single
from niwaki.surgery.split import write_split
from niwaki.surgery.standalone import write_loader
from niwaki.units import Plan
from niwaki.wrappers import bare, unwrapped

logger = logging.getLogger("niwaki")

PACKING, CONFIG = "packing.json", "config.json"


def save(small: nn.Module, folder: str | os.PathLike[str], *, shard_bytes: int | None = None) -> Path:
    """Write a pruned model: its weights, the plan that shrinks a fresh instance of its class to fit them, and how its
    layers were packed, if they were.

    Each file is written whole or not at all. Who is broken off leaves an earlier model in the folder as it was, or,
    once weights of this one are there, a folder without a plan, which :func:`load` refuses.

    A model that lies on several ranks (``fully_shard``) is saved by all of them: all must call this, with one folder,
    and they take turns with its files. Of any other, one rank is enough.

    Args:
        shard_bytes: what one file of weights holds at most, a larger tensor alone; None: all are in one file. Shards
            and their index are laid out as transformers does.

    Raises:
        BadInput: ``small`` was neither cut nor packed by niwaki.
    """
    small = unwrapped(small, "what is saved")
    plan = plan_of(small)
    if plan is None:
        raise BadInput(
            f"{type(small).__name__} was not cut by niwaki, so there is no plan to save with it. Save the model that "
            "nk.cut, nk.prune, nk.pack or Pruning gave you."
        )
    folder = Path(folder)
    _tell_of_extra_state(small)
    if fully_sharded(small):
        _save_together(small, plan, folder, shard_bytes)
        return folder
    tensors = own_tensors(small)
    write(layout(bytes_of(tensors), shard_bytes), tensors.__getitem__, folder)
    write_around(small, plan, folder)
    return folder


def _tell_of_extra_state(small: nn.Module) -> None:
    """What a class keeps of its own kind goes into no file of tensors."""
    plain = nn.Module.get_extra_state
    named = [
        n for n, m in small.named_modules() if type(m).get_extra_state is not plain and _holds(m.get_extra_state())
    ]
    if named:
        logger.warning(
            "%s keep(s) state beside tensors (get_extra_state), which is not saved: after nk.load it is that of the "
            "model that was given",
            ", ".join(map(repr, named)),
        )


def _holds(state: object) -> bool:
    return state is not None and not (isinstance(state, (dict, list, tuple, bytes)) and not state)


def _save_together(small: nn.Module, plan: Plan, folder: Path, shard_bytes: int | None) -> None:
    ranks = Ranks.here()
    resharded(small)
    write_split(own_tensors(small), folder, ranks, shard_bytes)
    with ranks.every("saving the plan"), plainly(small):
        if ranks.rank == 0:
            write_around(small, plan, folder)


def write_around(small: nn.Module, plan: Plan, folder: Path) -> None:
    """Write what lies beside the weights: how layers were packed, configs and the loader; last the plan, without which
    nothing of it is read."""
    packing = packing_of(small)
    if packing is not None:
        packing.save(folder / PACKING)
    else:
        (folder / PACKING).unlink(missing_ok=True)
    write_configs(small, plan, folder)
    write_loader(small, plan, folder)
    plan.save(folder / PLAN)


def load(folder: str | os.PathLike[str], dense_model: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """Read a pruned model into a fresh instance of its own class.

    Args:
        folder: what :func:`save` wrote. dense_model: the dense model, of any weights (it is copied, not touched), or a
            function that builds it. Also one that was built from the config that :func:`save` wrote, whether that could
            follow the cut or not.

    Raises:
        BrokenFile: a file is missing, damaged or does not fit the plan.
        StalePlan: the dense model is not the one that was pruned.
    """
    folder = Path(folder)
    plan = Plan.load(folder / PLAN)
    dense = dense_model if isinstance(dense_model, nn.Module) else dense_model()
    if not isinstance(dense, nn.Module):
        raise BadInput(f"dense_model must be a module or a function that builds one, not {type(dense).__name__}")
    dense = bare(dense)
    hollow = next((name for name, t in [*dense.named_parameters(), *dense.named_buffers()] if t.is_meta), None)
    if hollow is not None:
        raise BadInput(
            f"{hollow!r} of the dense model is on the meta device, which holds no values: build it on the CPU"
        )
    fits = (folder / CONFIG).is_file() and _fits(dense, plan)
    if not fits:
        plan.check(shapes_of(dense))
    tensors = Checkpoint(folder)
    packing = Packing.load(folder / PACKING) if (folder / PACKING).exists() else None
    small = duplicate(dense) if isinstance(dense_model, nn.Module) else dense
    if fits:
        attach(small, plan)
    else:
        cut_(small, plan)
    if packing is not None:
        rebuild(small, packing)
    _fill(small, tensors)
    _check_packed(small, folder)
    return small


def _fits(model: nn.Module, plan: Plan) -> bool:
    """Was the model built from a config that followed this plan? Then it has the sizes and the numbers that the cut
    leaves, and no table of its own that is not saved and lost entries."""
    shapes, modules = shapes_of(model), dict(model.named_modules())
    saved = set(model.state_dict(keep_vars=True))
    return (
        is_configured(model)
        and all(shapes.get(name) == plan.shape(name) for name in plan.tensors)
        and all(axis.name in saved for axis in plan.removed)
        and all(single(getattr(modules.get(name), a, after)) == after for (name, a), (_, after) in plan.numbers.items())
    )


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, shared ones once; buffers that the class itself does not save are left out. By
    the names of the modules: those of a ``state_dict`` may be others, as with checkpointed activations."""
    fleeting = {
        f"{name}.{buffer}".lstrip(".")
        for name, module in model.named_modules(remove_duplicate=False)
        for buffer in module._non_persistent_buffers_set
    }
    return {n: t for n, t in [*model.named_parameters(), *model.named_buffers()] if n not in fleeting}


def _check_packed(model: nn.Module, path: Path) -> None:
    """Raise :class:`BrokenFile` if a packed layer points to where there is nothing."""
    for name, layer in model.named_modules():
        for fault in layer.faults() if isinstance(layer, PackedLinear) else ():
            raise BrokenFile(f"{path} holds no packed layer {name!r}: {fault}")


def _fill(model: nn.Module, tensors: Checkpoint) -> None:
    """Copy every tensor into its place, one after the other; names, shapes and types must fit exactly."""
    wanted, path = own_tensors(model), tensors.place
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        trouble = f"lacks {missing[0]!r}" if missing else f"has a tensor {extra[0]!r} that the model lacks"
        raise BrokenFile(f"{path} does not fit the plan beside it: it {trouble}")
    with torch.no_grad():
        for name, target in wanted.items():
            found = tensors[name]
            kinds = found.dtype, target.dtype
            if found.shape != target.shape:
                raise BrokenFile(
                    f"{path} does not fit the plan beside it: {name!r} has shape {tuple(found.shape)}, the plan leaves "
                    f"{tuple(target.shape)}"
                )
            if kinds[0] != kinds[1] and not all(kind.is_floating_point for kind in kinds):
                raise BrokenFile(f"{path} does not fit the model: {name!r} holds {kinds[0]}, the model {kinds[1]}")
            # The file knows values and precision; device and memory layout are the model's own.
            target.data = torch.empty_like(target, dtype=found.dtype).copy_(found)
