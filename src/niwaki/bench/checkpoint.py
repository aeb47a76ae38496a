"""The dense network that a comparison starts from, read from a file without unpickling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, BrokenFile


def load_weights(model: nn.Module, path: Path) -> str:
    """Load a checkpoint into ``model``; give the SHA-256 of the file.

    Read are safetensors, and PyTorch's files of tensors: plain, or under ``"state_dict"``; a ``"module."`` before every
    name, which data parallelism leaves, is dropped.

    Raises:
        BadInput: there is no such file. BrokenFile: it cannot be read, or does not fit the network.
    """
    if not path.is_file():
        raise BadInput(f"no checkpoint at {path}; train the dense network first and name the file it was kept in")
    tensors = _tensors(path)
    wanted = model.state_dict()
    # Counters of batches came later than many checkpoints.
    missing = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
    extra = [n for n in tensors if n not in wanted]
    if missing or extra:
        found = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
        raise BrokenFile(f"{path} is not of this {type(model).__name__}: it {found}")
    unlike = [n for n, t in tensors.items() if t.shape != wanted[n].shape]
    if unlike:
        n = unlike[0]
        raise BrokenFile(f"{path}: {n!r} is {tuple(tensors[n].shape)}, and the network's {tuple(wanted[n].shape)}")
    model.load_state_dict(tensors, strict=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as trouble:  # whatever a damaged file makes its reader say
        raise BrokenFile(f"{path} is not a readable checkpoint: {trouble}") from trouble
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        raise BrokenFile(f"{path} holds no state dict of tensors")
    return {str(name).removeprefix("module."): t for name, t in found.items()}


__all__ = ["load_weights"]
