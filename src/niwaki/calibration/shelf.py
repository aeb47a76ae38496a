"""Values that are kept for later: in memory up to a budget, beyond it in files of a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from niwaki.replacing import told


@dataclass(eq=False)
class Kept:
    """One value on a shelf: in memory, or its tensors in a file."""

    value: Any
    spilled: tuple[Path, list[Any], TreeSpec] | None
    size: int


class Shelf:
    """Keeps values of tensors. ``memory``: bytes that may stay in memory, at least 0; the rest goes to disk."""

    def __init__(self, memory: int) -> None:
        self.left, self.spilled = memory, 0
        self._folder: Path | None = None
        self._remove: Callable[[], object] | None = None
        self._names = 0

    def put(self, value: Any) -> Kept:
        """Keep a value of nested tuples, lists and dicts; its tensors are not copied while they stay in memory."""
        leaves, spec = tree_flatten(value)
        size = sum(t.numel() * t.element_size() for t in leaves if isinstance(t, Tensor))
        if size <= self.left:
            self.left -= size
            return Kept(value, None, size)
        self.spilled += size
        return Kept(None, self._write(leaves, spec), size)

    def get(self, kept: Kept) -> Any:
        """A copy of the value: what is computed in place on it does not reach the shelf."""
        if kept.spilled is None:
            leaves, spec = tree_flatten(kept.value)
            return tree_unflatten([t.clone() if isinstance(t, Tensor) else t for t in leaves], spec)
        return self._read(*kept.spilled)

    def drop(self, kept: Kept) -> None:
        """Forget a value, and make room."""
        if kept.spilled is None:
            self.left += kept.size
            kept.value, kept.size = None, 0
        else:
            kept.spilled[0].unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all files, whoever still holds the shelf (an error's traceback does): what was spilled is lost."""
        if self._remove is not None:
            self._remove()
        self._folder = self._remove = None

    def _write(self, leaves: list[Any], spec: TreeSpec) -> tuple[Path, list[Any], TreeSpec]:
        from safetensors.torch import save_file

        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="niwaki-"))
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._names += 1
        path = self._folder / f"{self._names}.safetensors"
        tensors = {str(k): t.detach().cpu().contiguous().clone() for k, t in enumerate(leaves) if isinstance(t, Tensor)}
        with told(path):
            save_file(tensors, path)
        rest = [t.device if isinstance(t, Tensor) else t for t in leaves]
        return path, rest, spec

    def _read(self, path: Path, rest: list[Any], spec: TreeSpec) -> Any:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            leaves = [
                file.get_tensor(str(k)).to(item) if str(k) in names and isinstance(item, torch.device) else item
                for k, item in enumerate(rest)
            ]
        return tree_unflatten(leaves, spec)


__all__ = ["Kept", "Shelf"]
