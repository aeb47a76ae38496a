"""Short hashes of what ranks must agree on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from niwaki.ranks.shards import is_sharded, whole


def digest(value: Any) -> str:
    """64 hexadecimal digits of plain data with tensors in it. Of a tensor of which ranks hold parts: its shape, its
    type and, of bools, how many are true."""
    hashed = hashlib.sha256()
    _take(value, hashed)
    return hashed.hexdigest()


def _take(value: Any, hashed: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            hashed.update(json.dumps(str(key)).encode())
            _take(inner, hashed)
    elif isinstance(value, Tensor):
        hashed.update(f"{tuple(value.shape)}{value.dtype}".encode())
        hashed.update(_bytes(value))
    else:
        hashed.update(json.dumps(value, sort_keys=True, default=str).encode())


def _bytes(t: Tensor) -> bytes:
    if is_sharded(t):
        return str(int(whole(t.sum()))).encode() if t.dtype == torch.bool else b""
    there = t.detach().cpu().contiguous()
    if t.dtype == torch.bool:
        return np.packbits(there.numpy()).tobytes()
    return there.view(torch.uint8).numpy().tobytes() if there.dim() else str(there.item()).encode()


__all__ = ["digest"]
