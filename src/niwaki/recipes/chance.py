"""All generators of random numbers that a training run draws from, as one value that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def reseed(seed: int) -> None:
    """Seed every generator that a user's code is likely to draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def states() -> State:
    """Where all of them stand: plain data and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(found: State) -> None:
    """Put all of them back to where they stood."""
    version, keys, gauss = found["python"]
    random.setstate((version, tuple(keys), gauss))
    name, words, *rest = found["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(found["torch"])
    if found["cuda"]:
        torch.cuda.set_rng_state_all(found["cuda"])


__all__ = ["State", "reseed", "restore", "states"]
