"""A checkpoint in safetensors, of one file or of many, whose tensors are read when they are asked for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niwaki.errors import BrokenFile, nearest

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies, and what it is. ``dtype``: as safetensors writes it (``"F32"``, ``"BF16"``, …)."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Checkpoint(Mapping[str, "Tensor"]):
    """The tensors of a checkpoint by name, each read from disk whenever it is asked for, and kept by nobody here.

    A tensor that comes out of it is backed by the file: its values are read when they are used, and it costs memory
    only while somebody has it. Nothing is ever unpickled.

    Attributes:
        entries: where each tensor lies, its shape and its type.

    Args:
        path: a file of safetensors, or a folder with ``model.safetensors`` or with shards and their index
            ``model.safetensors.index.json``, as transformers writes them.

    Raises:
        BrokenFile: there is no such file; one is damaged or cut short; the index names what is not there, or a file
            outside the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.entries: dict[str, Entry] = dict(_entries(self.path))

    @property
    def place(self) -> Path:
        """The one file, or the index of many."""
        whole = self.path / WEIGHTS
        return self.path if self.path.is_file() else whole if whole.is_file() else self.path / INDEX

    def __getitem__(self, name: str) -> Tensor:
        with _opened(self._entry(name).file) as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def _entry(self, name: str) -> Entry:
        try:
            return self.entries[name]
        except KeyError:
            raise KeyError(f"{self.path} has no tensor {name!r}{nearest(name, self.entries)}") from None


def files_of(path: Path) -> list[Path]:
    """The files of a checkpoint: of a folder the one with all, or those that the index names, in order.

    Raises:
        BrokenFile: none is there, or the index cannot be used.
    """
    if not path.is_dir():
        found = [path]
    elif (path / WEIGHTS).is_file():
        found = [path / WEIGHTS]
    elif (path / INDEX).is_file():
        found = [path / name for name in sorted(set(_index(path / INDEX).values()))]
    else:
        raise BrokenFile(f"no weights at {path / WEIGHTS}, nor an index of shards ({INDEX}) beside it")
    for file in found:
        if not file.is_file():
            raise BrokenFile(f"no weights at {file}")
    return found


def _entries(path: Path) -> Iterator[tuple[str, Entry]]:
    owner: dict[str, Path] = {}
    for file in files_of(path):
        with _opened(file) as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping: it cannot be iterated over)
                if name in owner:
                    raise BrokenFile(f"{name!r} is in two files of {path}: {owner[name].name} and {file.name}")
                owner[name] = file
                piece = opened.get_slice(name)
                yield name, Entry(file, tuple(piece.get_shape()), piece.get_dtype())
    _check_index(path, owner)


def _check_index(path: Path, owner: Mapping[str, Path]) -> None:
    """What an index says of where tensors are must be so."""
    if not path.is_dir() or (path / WEIGHTS).is_file():
        return
    for name, file in _index(path / INDEX).items():
        if name not in owner or owner[name].name != file:
            raise BrokenFile(f"{path / INDEX} says that {name!r} is in {file}, and it is not")


def _index(path: Path) -> dict[str, str]:
    """Tensor to the name of its file, checked: no file outside the folder."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        index = {str(name): str(file) for name, file in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as trouble:
        raise BrokenFile(f"{path} is not a usable index of shards (truncated?): {trouble}") from trouble
    for file in index.values():
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise BrokenFile(f"{path} names {file!r}, which is no safetensors file beside it")
    return index


def _opened(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(file), framework="pt")
    except (SafetensorError, OSError, ValueError) as trouble:
        raise BrokenFile(f"{file} is not a readable safetensors file (truncated?): {trouble}") from trouble


__all__ = ["INDEX", "WEIGHTS", "Checkpoint", "Entry", "files_of"]
