"""Tensors of which every rank holds a part (DTensors): this rank's part, the whole, and what lies where.

All of it works on plain tensors too, of which every rank holds the whole.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from niwaki.errors import BadInput

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(t: Any) -> bool:
    """Is it a DTensor?"""
    # Its package is slow to import, and who has one has imported it.
    room = sys.modules.get("torch.distributed.tensor")
    return room is not None and isinstance(t, room.DTensor)


def local(t: Tensor) -> Tensor:
    """The part that this rank holds, in its own memory; a plain tensor itself."""
    if not is_sharded(t):
        return t
    sharded: Any = t
    with torch.no_grad():  # twice as fast as detaching the whole first
        part: Tensor = sharded.to_local().detach()
    return part


def whole(t: Tensor) -> Tensor:
    """All of it, on every rank: parts are gathered, and sums of which every rank has one term are added up."""
    if not is_sharded(t):
        return t
    sharded: Any = t
    with torch.no_grad():
        found: Tensor = sharded.detach().full_tensor()
    return found


def numbers(t: Tensor, dim: int) -> Tensor:
    """Which indices of a dimension this rank holds. Shape: (held,), int64."""
    every = torch.arange(t.shape[dim], device=local(t).device)
    return _sliced(every, t, {0: dim}) if is_sharded(t) else every


def part(marks: Tensor, of: Tensor) -> Tensor:
    """What of ``marks`` meets this rank's part of ``of``. ``marks``: whole, and broadcasts against ``of``."""
    if not is_sharded(of):
        return marks
    if is_sharded(marks):
        return local(marks)
    along = {d + of.dim() - marks.dim(): d for d in range(marks.dim()) if marks.shape[d] > 1}
    return _sliced(marks, of, {mine: theirs for theirs, mine in along.items()})


def carried(t: Tensor, change: Callable[[Tensor], Tensor], dims: set[int]) -> Tensor:
    """A tensor that was changed along ``dims``, dealt out over the same ranks.

    Where this rank holds all of those dimensions it changes its own part, and nothing travels. Else the tensor is
    gathered, changed, and dealt out again; no other is whole at that time.
    """
    if not is_sharded(t):
        return change(t)
    sharded: Any = t
    if not dims & {p.dim for p in _shards(sharded)}:
        shape = change(torch.empty(t.shape, device="meta")).shape
        return _from_local(change(local(t)), sharded, shape)
    return spread_over(change(whole(t)), sharded)


def spread_over(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same on all ranks, dealt out as ``like`` is; nothing travels."""
    if not is_sharded(like):
        return value
    sharded: Any = like
    placements = [_even(p, value.shape, sharded.device_mesh.size(k)) for k, p in enumerate(_placements(sharded))]
    mine = value
    for k, placement in enumerate(placements):
        if placement.is_shard():
            mine = _chunk(mine, placement.dim, sharded.device_mesh, k)
    return _from_local(mine.clone(), sharded, value.shape, placements)


def as_part(mine: Tensor, of: Tensor) -> Tensor:
    """The tensor of which every rank holds its part, as it does ``of``, of the same shape; a plain one as it is."""
    return _from_local(mine, of, of.shape) if is_sharded(of) else mine


def shares(t: Tensor, how: str = "sum") -> Callable[[Tensor], Tensor]:
    """Joins what the ranks found that hold parts of ``t``, by ``"sum"`` or ``"max"``; the same numbers, where every
    rank holds the whole."""
    if not is_sharded(t):
        return lambda counted: counted
    from torch.distributed.tensor import DTensor, Partial, Replicate

    sharded: Any = t
    kinds = [Partial(how) if p.is_shard() else Replicate() for p in _placements(sharded)]
    mesh = sharded.device_mesh
    return lambda counted: DTensor.from_local(counted, mesh, kinds, run_check=False).full_tensor()


def layout(t: Tensor) -> Any:
    """The same for tensors that lie on the same ranks in the same way."""
    sharded: Any = t
    return (sharded.device_mesh, tuple(p.is_shard() for p in _placements(sharded))) if is_sharded(t) else None


def alike(tensors: Iterable[Tensor]) -> list[list[int]]:
    """The numbers of those that lie on the same ranks in the same way, here on one device: what each rank found of them
    can be joined at once."""
    found: dict[object, list[int]] = {}
    for k, each in enumerate(tensors):
        found.setdefault((layout(each), local(each).device), []).append(k)
    return list(found.values())


def places(t: Tensor, flat: Tensor) -> Tensor:
    """Where entries lie in the whole tensor, counted through. ``flat``: int64, places in this rank's part."""
    if not is_sharded(t):
        return flat
    found = torch.zeros_like(flat)
    left, size = flat, 1
    for dim in reversed(range(t.dim())):
        held = numbers(t, dim)
        found += held[left % max(1, len(held))] * size if len(held) else 0
        left, size = left // max(1, len(held)), size * t.shape[dim]
    return found


def _placements(t: DTensor) -> list[Any]:
    from torch.distributed.tensor import Replicate, Shard

    for placement in t.placements:
        if type(placement) not in (Shard, Replicate):
            raise BadInput(
                f"a tensor of shape {tuple(t.shape)} is dealt out as {placement}, and parts of it cannot be told "
                "apart: shard along one dimension (fully_shard over one mesh, or over a mesh of replicas and shards)"
            )
    return list(t.placements)


def _shards(t: DTensor) -> list[Any]:
    return [p for p in _placements(t) if p.is_shard()]


def _even(placement: Any, shape: torch.Size, size: int) -> Any:
    """Beyond dimension 0, FSDP deals out even parts only."""
    from torch.distributed.tensor import Shard

    uneven = placement.is_shard() and placement.dim > 0 and shape[placement.dim] % size
    return Shard(0) if uneven else placement


def _sliced(marks: Tensor, of: Any, dims: dict[int, int]) -> Tensor:
    """``dims``: dimensions of ``marks`` by the ones of ``of`` that they stand for."""
    for k, placement in enumerate(_placements(of)):
        for mine, theirs in dims.items():
            if placement.is_shard() and placement.dim == theirs:
                marks = _chunk(marks, mine, of.device_mesh, k)
    return marks


def _chunk(t: Tensor, dim: int, mesh: Any, mesh_dim: int) -> Tensor:
    """The part that this rank gets along a dimension of the mesh, as torch.chunk deals it out; it may be empty."""
    step = -(-t.shape[dim] // mesh.size(mesh_dim))
    start = min(t.shape[dim], step * mesh.get_local_rank(mesh_dim))
    return t.narrow(dim, start, min(step, t.shape[dim] - start))


def _from_local(mine: Tensor, like: Any, shape: torch.Size, placements: list[Any] | None = None) -> Tensor:
    from torch.distributed.tensor import DTensor

    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        mine, like.device_mesh, placements or like.placements, run_check=False, shape=shape, stride=stride
    )


__all__ = [
    "alike",
    "as_part",
    "carried",
    "is_sharded",
    "layout",
    "local",
    "numbers",
    "part",
    "places",
    "shares",
    "spread_over",
    "whole",
]
