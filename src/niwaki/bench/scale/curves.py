"""The loss of a whole run, through masks, rounds and cuts: it must not depend on how many processes train."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from niwaki.bench.scale.subjects import FOLLOWED, subject
from niwaki.bench.scale.training import WRAPS, Training
from niwaki.methods import Method, greg1, magnitude, spur
from niwaki.ranks import Ranks
from niwaki.targets import Ratio

STEPS, BATCH, RATE = 60, 32, 0.02
"""Of a run; a batch is that of all processes together."""
METHODS: dict[str, Callable[[], Method | None]] = {
    "plain": lambda: None,
    "magnitude": lambda: magnitude(Ratio(0.5)),
    "greg1": lambda: greg1(Ratio(0.5), grow=0.05, ceiling=0.5, every=2, hold=4, parted=None),
    "spur": lambda: spur(0.6, rounds=3, steps=15, dense=5, alpha=1e-4),
}


def work(order: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """On each rank: the loss on its examples at every step, and the parameters left, by wrap and method."""
    it = subject(FOLLOWED)
    found: dict[str, Any] = {}
    for wrap in WRAPS:
        found[wrap] = {}
        for name, method in METHODS.items():
            torch.manual_seed(0)
            training, losses = Training(it, wrap, method(), RATE), []
            for step in range(order["steps"]):
                batch = it.draw(BATCH, torch.Generator().manual_seed(step))
                losses.append(training.step(batch[ranks.rank :: ranks.size]).loss)
            found[wrap][name] = {"loss": losses, "params": sum(p.numel() for p in training.model.parameters())}
    return found


def together(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The loss of the whole batch at every step, by wrap and method."""
    return {
        wrap: {
            name: {
                "loss": [statistics.mean(at) for at in zip(*(r[wrap][name]["loss"] for r in every), strict=True)],
                "params": every[0][wrap][name]["params"],
            }
            for name in every[0][wrap]
        }
        for wrap in every[0]
    }


def gap(curves: Sequence[Sequence[float]]) -> float:
    """How far curves are apart where they are farthest."""
    return max(max(at) - min(at) for at in zip(*curves, strict=True))


__all__ = ["BATCH", "METHODS", "STEPS", "gap", "together", "work"]
