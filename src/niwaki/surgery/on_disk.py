"""Cut a model that is too big to be held: from files to files, one tensor after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from niwaki.disk import bytes_of, layout, write
from niwaki.errors import BadInput
from niwaki.surgery.cut import by_tensor, cut
from niwaki.surgery.slices import select
from niwaki.surgery.store import own_tensors, write_around
from niwaki.surgery.stored import Stored
from niwaki.units import Plan

SHARD = 2 * 10**9


def cut_on_disk(
    model: nn.Module,
    plan: Plan,
    weights: Mapping[str, Tensor],
    folder: str | os.PathLike[str],
    *,
    shard_bytes: int = SHARD,
    tick: Callable[[str], None] = lambda name: None,
) -> Path:
    """Write the folder that :func:`niwaki.save` would write of the cut model, without ever holding the model.

    In memory are one shard that is being written and one tensor that is being read.

    Args:
        model: the dense model, best without values (:func:`niwaki.hollow`); its own are used only for tables that are
            in no file. plan: which units go.
        weights: the dense weights by name, for instance a :class:`niwaki.Checkpoint`.
        folder: where to; it must not be where the weights are read from. shard_bytes: what a file holds at most; a
            larger tensor has a file alone. tick: called with the name of each tensor that was cut.

    Returns:
        The folder; :func:`niwaki.load` reads it, and stock code where the config could follow.

    Raises:
        StalePlan: the plan was made for another model. BadInput: the weights are not the model's, or would be
        overwritten.
    """
    folder, source = Path(folder), getattr(weights, "path", None)
    if source is not None and folder.resolve() in (source.resolve(), source.resolve().parent):
        raise BadInput(f"the cut weights cannot be written to {folder}, where the dense ones are read from")
    dense = dict([*model.named_parameters(), *model.named_buffers()])
    stored = Stored(weights, dense, plan.aliases)
    small = cut(model, plan)
    _take_types(small, stored)
    removed = by_tensor(plan.removed)

    def shrunk(name: str) -> Tensor:
        return select(stored[name].detach(), removed.get(name, {})).clone()  # out of the file, which is closed then

    write(layout(bytes_of(own_tensors(small)), shard_bytes), shrunk, folder, tick)
    write_around(small, plan, folder)
    return folder


def _take_types(small: nn.Module, stored: Stored) -> None:
    """Let the tensors of the cut model be of the types in which they are stored, so that its config says so."""
    for name, t in own_tensors(small).items():
        if stored.is_stored(name):
            t.data = torch.empty(t.shape, dtype=stored[name].dtype, device=t.device)
        elif t.is_meta:
            raise BadInput(f"the model's {name!r} is not among the weights, and has no values of its own")


__all__ = ["SHARD", "cut_on_disk"]
