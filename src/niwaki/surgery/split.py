"""Weights in several files and an index, as Hugging Face lays them out: written by several ranks, none of which holds
the whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path

from torch import Tensor

from niwaki.errors import BrokenFile
from niwaki.ranks import Ranks, whole
from niwaki.replacing import replacing

INDEX = "model.safetensors.index.json"
FILE = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def write_split(tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    """Every rank writes one file, of about as many bytes; the first writes the index when all files are there. Tensors
    are gathered one at a time, and kept by the rank that writes them."""
    from safetensors.torch import save_file

    owner = _owners(tensors, ranks.size)
    files = max(owner.values()) + 1
    names = {name: f"model-{k + 1:05d}-of-{files:05d}.safetensors" for name, k in owner.items()}
    with ranks.every("saving the weights"):
        mine: dict[str, Tensor] = {}
        for name, t in tensors.items():
            value = whole(t.detach())
            if owner[name] == ranks.rank:
                mine[name] = value.contiguous().cpu()
        if mine:
            with replacing(folder / names[next(iter(mine))]) as part:
                save_file(mine, str(part), metadata={"format": "pt"})
    with ranks.every("saving the index of the weights"):
        if ranks.rank == 0:
            total = sum(map(_size, tensors.values()))
            index = {"metadata": {"total_size": total}, "weight_map": names}
            with replacing(folder / INDEX) as part:
                part.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
            remove_split(folder, but=set(names.values()))


def read_index(folder: Path) -> dict[str, Path]:
    """The file of every tensor.

    Raises:
        BrokenFile: the index is damaged, or names what cannot be a file of weights in this folder.
    """
    try:
        places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        found = {str(name): str(file) for name, file in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as trouble:
        raise BrokenFile(f"{folder / INDEX} is no index of weights: {trouble!r}") from trouble
    for file in found.values():
        if FILE.fullmatch(file) is None:
            raise BrokenFile(f"{folder / INDEX} names a file {file!r}; files of weights are called like {_example()}")
    return {name: folder / file for name, file in found.items()}


def remove_split(folder: Path, but: Iterable[str] = ()) -> None:
    """Take away the files of weights that an earlier save has left; ``but``: those that stay, and the index with
    them."""
    stay = set(but)
    if not stay:
        (folder / INDEX).unlink(missing_ok=True)
    for path in folder.glob("model-*.safetensors"):
        if path.name not in stay and FILE.fullmatch(path.name):
            path.unlink()


def _owners(tensors: Mapping[str, Tensor], ranks: int) -> dict[str, int]:
    """Which file a tensor goes to: as they come, every file about as large; no file is empty."""
    sizes = list(map(_size, tensors.values()))
    ends, total = list(accumulate(sizes)), max(1, sum(sizes))
    raw = [int((end - size / 2) * ranks / total) for end, size in zip(ends, sizes, strict=True)]
    number = {k: place for place, k in enumerate(sorted(set(raw)))}
    return {name: number[k] for name, k in zip(tensors, raw, strict=True)}


def _size(t: Tensor) -> int:
    return t.numel() * t.element_size()


def _example() -> str:
    return "model-00001-of-00002.safetensors"


__all__ = ["INDEX", "read_index", "remove_split", "write_split"]
