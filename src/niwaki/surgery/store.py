"""Save and load: ``model.safetensors`` and a readable ``plan.json``; of a packed model ``packing.json`` too. Nothing is
ever unpickled. A model that lies on several ranks (``fully_shard``) is written by all of them, to several files and an
index.

Of a Hugging Face model the config is written too. Where it could follow the cut, stock code loads the folder. Beside it
lies a short loader that needs no niwaki, but for modules that compute by code of niwaki's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, BrokenFile
from niwaki.graph.copies import duplicate
from niwaki.packed import PackedLinear, Packing, packing_of, rebuild
from niwaki.ranks import Ranks, fully_sharded, plainly, resharded
from niwaki.replacing import replacing
from niwaki.surgery.cut import attach, cut_, plan_of, shapes_of
from niwaki.surgery.hugging import is_configured, write_configs
from niwaki.surgery.split import INDEX, read_index, remove_split, write_split
from niwaki.surgery.standalone import write_loader
from niwaki.surgery.wrappers import bare, unwrapped
from niwaki.units import Plan

WEIGHTS, PLAN, PACKING, CONFIG = "model.safetensors", "plan.json", "packing.json", "config.json"


def save(small: nn.Module, folder: str | os.PathLike[str]) -> Path:
    """Write a pruned model: its weights, the plan that shrinks a fresh instance of its class to fit them, and how its
    layers were packed, if they were.

    Each file is written whole or not at all. Of a sharded model all ranks must call this, each with the same folder,
    and each writes a part (``model-00001-of-0000N.safetensors``); of any other, one rank is enough.

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
    if not fully_sharded(small):
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(small, folder)
        _write_rest(small, plan, folder)
        return folder
    ranks = Ranks.here()
    resharded(small)
    with ranks.every("making the folder"):
        folder.mkdir(parents=True, exist_ok=True)
    write_split(_own_tensors(small), folder, ranks)
    with ranks.every("saving the plan"), plainly(small):
        if ranks.rank == 0:
            (folder / WEIGHTS).unlink(missing_ok=True)
            _write_rest(small, plan, folder)
    return folder


def _write_whole(small: nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: t.detach().contiguous().cpu() for name, t in _own_tensors(small).items()}
    with replacing(folder / WEIGHTS) as part:
        save_file(tensors, str(part), metadata={"format": "pt"})
    remove_split(folder)


def _write_rest(small: nn.Module, plan: Plan, folder: Path) -> None:
    """All that lies beside the weights."""
    plan.save(folder / PLAN)
    packing = packing_of(small)
    if packing is not None:
        packing.save(folder / PACKING)
    else:
        (folder / PACKING).unlink(missing_ok=True)
    write_configs(small, folder)
    write_loader(small, plan, folder)


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
    fits = (folder / CONFIG).is_file() and _fits(dense, plan)
    if not fits:
        plan.check(shapes_of(dense))
    tensors = _read_all(folder)
    packing = Packing.load(folder / PACKING) if (folder / PACKING).exists() else None
    small = duplicate(dense) if isinstance(dense_model, nn.Module) else dense
    if fits:
        attach(small, plan)
    else:
        cut_(small, plan)
    if packing is not None:
        rebuild(small, packing)
    _fill(small, tensors, folder / WEIGHTS)
    _check_packed(small, folder / WEIGHTS)
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
        and all(getattr(modules.get(name), a, after) == after for (name, a), (_, after) in plan.numbers.items())
    )


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, shared ones once; buffers that the class itself does not save are left out."""
    names = set(model.state_dict(keep_vars=True))
    return {n: t for n, t in [*model.named_parameters(), *model.named_buffers()] if n in names}


def _read_all(folder: Path) -> dict[str, Tensor]:
    """From one file, or from those that an index names."""
    if not (folder / INDEX).exists():
        return _read(folder / WEIGHTS)
    places, found = read_index(folder), {}
    for path in dict.fromkeys(places.values()):
        found.update(_read(path))
    if found.keys() != places.keys():
        other = min(found.keys() ^ places.keys())
        raise BrokenFile(f"{folder / INDEX} and the files beside it do not fit: {other!r} is in one of them only")
    return found


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BrokenFile(f"no weights at {path}")
    try:
        return load_file(str(path))
    except (SafetensorError, OSError, ValueError) as trouble:
        raise BrokenFile(f"{path} is not a readable safetensors file (truncated?): {trouble}") from trouble


def _check_packed(model: nn.Module, path: Path) -> None:
    """Raise :class:`BrokenFile` if a packed layer points to where there is nothing."""
    for name, layer in model.named_modules():
        for fault in layer.faults() if isinstance(layer, PackedLinear) else ():
            raise BrokenFile(f"{path} holds no packed layer {name!r}: {fault}")


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy every tensor into its place; names, shapes and types must fit exactly."""
    wanted = _own_tensors(model)
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        trouble = f"lacks {missing[0]!r}" if missing else f"has a tensor {extra[0]!r} that the model lacks"
        raise BrokenFile(f"{path} does not fit the plan beside it: it {trouble}")
    with torch.no_grad():
        for name, target in wanted.items():
            if tensors[name].shape != target.shape:
                raise BrokenFile(
                    f"{path} does not fit the plan beside it: {name!r} has shape {tuple(tensors[name].shape)}, "
                    f"the plan leaves {tuple(target.shape)}"
                )
            found, wanted_type = tensors[name].dtype, target.dtype
            if found != wanted_type and not (found.is_floating_point and wanted_type.is_floating_point):
                raise BrokenFile(f"{path} does not fit the model: {name!r} holds {found}, the model {wanted_type}")
            # The file knows values and precision; device and memory layout are the model's own.
            target.data = torch.empty_like(target, dtype=found).copy_(tensors[name])
