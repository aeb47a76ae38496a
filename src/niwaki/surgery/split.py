"""The weights of a model that lies on several ranks, written by all of them; none holds the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from niwaki.disk import Layout, bytes_of, finish, layout, outdated, write_file
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
    # The first file makes an earlier writing stale: it is there before any other.
    for numbers in (range(1), range(1, len(plan.files))):
        with ranks.every("saving the weights"):
            _write_own(plan, numbers, tensors, folder, ranks)
    with ranks.every("saving the index of the weights"):
        if ranks.rank == 0:
            finish(plan, folder)


def _write_own(plan: Layout, numbers: range, tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    files = list(plan.files.items())
    for k in numbers:
        (file, names), held = files[k], {}
        for name in names:
            value = whole(tensors[name].detach())
            if k % ranks.size == ranks.rank:
                held[name] = value.contiguous().cpu()
        if held:
            write_file(held, folder / file, () if k else outdated(plan, folder))


__all__ = ["write_split"]
