"""Writing tensors in files of a bounded size, one file in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from niwaki.disk.checkpoint import INDEX, WEIGHTS
from niwaki.disk.marks import PLAN, unmarking
from niwaki.errors import BadInput
from niwaki.replacing import made, replacing

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Which tensors go to which file: name of the file to names of tensors, in order. ``size``: bytes of them all."""

    files: Mapping[str, tuple[str, ...]]
    size: int

    @property
    def index(self) -> dict[str, str]:
        """Tensor to file."""
        return {name: file for file, names in self.files.items() for name in names}


def bytes_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """What each tensor takes in a file."""
    return {name: t.numel() * t.element_size() for name, t in tensors.items()}


def layout(sizes: Mapping[str, int], most: int | None) -> Layout:
    """Fill one file after the other, in the order of the tensors; one that is larger than ``most`` has a file alone.

    Args:
        sizes: bytes by tensor. most: bytes that a file holds; None: all are in one.
    """
    if most is None:
        most = max(1, sum(sizes.values()))
    if most < 1:
        raise BadInput(f"a shard must hold at least a byte, not {most}")
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = most
        shards[-1].append(name)
        room -= size
    total = len(shards)
    names = [WEIGHTS] if total < 2 else [f"model-{k + 1:05}-of-{total:05}.safetensors" for k in range(total)]
    return Layout({file: tuple(part) for file, part in zip(names, shards, strict=True)}, sum(sizes.values()))


def write(
    plan: Layout, tensor: Callable[[str], Tensor], folder: Path, wrote: Callable[[str], None] = lambda name: None
) -> None:
    """Write all files, each whole or not at all, and their index last; what an earlier layout left is removed.

    Until the first file is in its place, an earlier writing is as it was. From then on its index and its plan are gone,
    so that who is broken off leaves nothing that could be read as a mixture of both.

    Args:
        plan: what goes where. tensor: gives a tensor by name, when its turn has come. folder: it is made.
        wrote: called with the name of each tensor that was given.
    """
    made(folder)
    stale = outdated(plan, folder)
    for file, names in plan.files.items():
        held = {}
        for name in names:
            held[name] = tensor(name).detach().contiguous().cpu()
            wrote(name)
        write_file(held, folder / file, stale)
        stale = ()
    finish(plan, folder)


def write_file(tensors: Mapping[str, Tensor], path: Path, stale: Iterable[Path] = ()) -> None:
    """Write one file, whole or not at all. ``tensors``: contiguous, on the CPU. ``stale``: files that are gone before
    it is in its place, and stay if it does not come there."""
    from safetensors.torch import save_file

    # The disk may take minutes, and who is killed meanwhile has the earlier files: they go at the last moment.
    with unmarking(path, stale) as withdraw, replacing(path, withdraw) as part:
        save_file(dict(tensors), str(part), metadata={"format": "pt"})


def outdated(plan: Layout, folder: Path) -> tuple[Path, ...]:
    """What says of the weights of an earlier writing which they are: stale once the first file of this one is there."""
    return tuple(folder / name for name in (PLAN, INDEX, WEIGHTS) if name not in plan.files)


def finish(plan: Layout, folder: Path) -> None:
    """Write the index of files that are there, and remove what an earlier layout left."""
    if len(plan.files) > 1:
        text = json.dumps({"metadata": {"total_size": plan.size}, "weight_map": plan.index}, indent=2)
        with replacing(folder / INDEX) as part:
            part.write_text(text + "\n", encoding="utf-8")
    _sweep(folder, plan.files)


def _sweep(folder: Path, files: Iterable[str]) -> None:
    """Remove weights of an earlier writing, which a reader would take for these."""
    keep = {*files, *([INDEX] if len(list(files)) > 1 else [])}
    for old in [folder / WEIGHTS, folder / INDEX, *folder.glob("model-*-of-*.safetensors")]:
        if old.name not in keep:
            old.unlink(missing_ok=True)


__all__ = ["Layout", "bytes_of", "finish", "layout", "outdated", "write", "write_file"]
