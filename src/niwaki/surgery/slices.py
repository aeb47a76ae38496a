"""A tensor without some of its indices, and smaller tensors in place of larger ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from niwaki.ranks import carried, is_sharded
from niwaki.surgery.beside import exchange_beside

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The memory formats with channels last, by number of dimensions."""


def select(t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Tensor:
    """``t`` without the given indices of the given dimensions, in the same memory format; what lay on several ranks is
    dealt out over them again."""
    if is_sharded(t):
        return carried(t, lambda value: select(value, dims), set(dims))
    result = t
    for dim, gone in dims.items():
        lost = set(gone)
        kept = [i for i in range(t.shape[dim]) if i not in lost]
        result = result.index_select(dim, torch.tensor(kept, dtype=torch.int64, device=t.device))
    last = FORMATS.get(t.dim())
    if last is not None and t.is_contiguous(memory_format=last) and not t.is_contiguous():
        return result.contiguous(memory_format=last)
    return result


def replace(model: nn.Module, fresh: Mapping[int, Tensor]) -> None:
    """Put new tensors, by the ``id`` of the old ones, wherever those were held: shared ones in several places, and
    also where a module keeps them beside its parameters and buffers."""
    for module in model.modules():
        for slots in (module._parameters, module._buffers):
            for local, t in slots.items():
                if t is not None and id(t) in fresh:
                    slots[local] = fresh[id(t)]  # type: ignore[assignment]
    exchange_beside(model, fresh)


__all__ = ["replace", "select"]
