"""Global random state, the weather that no law may depend on and no call may change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def weather(seed: int) -> Iterator[None]:
    """Every global generator (torch on the CPU, numpy, Python) seeded inside, and as it was after."""
    ours, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators too, which are not forked here.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)


def forecast() -> dict[str, Any]:
    """The state of every global generator, as plain data and tensors that can be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    numpys = [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]
    return {"torch": torch.default_generator.get_state(), "numpy": numpys, "random": list(random.getstate())}
