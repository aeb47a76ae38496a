"""Global random state, the weather that no law may depend on and no call may change."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from niwaki.graph.chance import same_chance


def weather(seed: int) -> AbstractContextManager[None]:
    """Every global generator (torch on the CPU, numpy, Python) seeded inside, and as it was after."""
    return same_chance(seed)


def forecast() -> dict[str, Any]:
    """The state of every global generator, as plain data and tensors that can be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    numpys = [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]
    return {"torch": torch.default_generator.get_state(), "numpy": numpys, "random": list(random.getstate())}
