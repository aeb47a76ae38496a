"""Global random state, which running users' code must not change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def same_chance(seed: int | None = None) -> Iterator[None]:
    """The generators of random numbers on the CPU are afterwards as before. ``seed``: what they start from inside."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed)
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)


__all__ = ["same_chance"]
