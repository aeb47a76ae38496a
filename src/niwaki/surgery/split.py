"""The weights of a model that lies on several ranks, written by all of them; none holds the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from niwaki.disk import Layout, bytes_of, finish, layout, write_file
from niwaki.ranks import Ranks, whole
from niwaki.replacing import made


def write_split(tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks, shard_bytes: int | None = None) -> None:
    """The ranks take turns with the files. Tensors are gathered one at a time, on all ranks, and kept by the one that
    writes them; the first rank writes the index when all files are there.

    Args:
        shard_bytes: what one file holds at most; None: as much as makes a file for each rank.
    """
    sizes = bytes_of(tensors)
    plan = layout(sizes, shard_bytes or max(1, -(-sum(sizes.values()) // ranks.size)))
    with ranks.every("saving the weights"):
        made(folder)
    with ranks.every("saving the weights"):
        _write_own(plan, tensors, folder, ranks)
    with ranks.every("saving the index of the weights"):
        if ranks.rank == 0:
            finish(plan, folder)


def _write_own(plan: Layout, tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    for k, (file, names) in enumerate(plan.files.items()):
        held = {}
        for name in names:
            value = whole(tensors[name].detach())
            if k % ranks.size == ranks.rank:
                held[name] = value.contiguous().cpu()
        if held:
            write_file(held, folder / file)


__all__ = ["write_split"]
