"""How long a step takes, plain and under a method, all of them in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from niwaki.bench.scale.subjects import subject
from niwaki.bench.scale.training import WRAPS, Training
from niwaki.methods import Method, greg1, spur
from niwaki.ranks import Ranks
from niwaki.targets import Ratio

PLAIN = "plain"
METHODS: dict[str, Callable[[], Method | None]] = {
    PLAIN: lambda: None,
    # Growing by next to nothing, so that it presses as long as it is timed, and updates on every tenth step.
    "greg1": lambda: greg1(Ratio(0.5), grow=1e-9, parted=None),
    # Half of all weights masked, and the penalty on rows and columns beside it.
    "spur": lambda: spur(0.5, rounds=1, steps=10**6, dense=0, alpha=1e-6),
}
GOAL = 0.03
"""As much may the engine add to a step."""
WARM = 2


def work(order: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """On each rank. ``order``: network, runs. Seconds of every step and of its end, by wrap and method."""
    import torch.distributed as dist

    it = subject(order["network"])
    found: dict[str, Any] = {}
    for wrap in WRAPS:
        trained = {name: Training(it, wrap, method(), lr=1e-4) for name, method in METHODS.items()}
        spent: dict[str, list[list[float]]] = {name: [] for name in trained}
        for k in range(WARM + order["runs"]):
            batch = it.draw(it.batch, torch.Generator().manual_seed(k * ranks.size + ranks.rank))
            for name in list(trained)[:: 1 if k % 2 else -1]:
                dist.barrier()
                now = trained[name].step(batch)
                spent[name].append([now.whole, now.after])
        found[wrap] = {name: rows[WARM:] for name, rows in spent.items()}
    return found


def figures(every: Sequence[Mapping[str, Any]], batch: int) -> dict[str, Any]:
    """Of what all ranks found, by wrap and method.

    ``step_s``: the median step of whichever rank was slowest. ``added``: what the mean end of a step (all after the
    backward pass) takes more than that of a plain one, as a share of a plain step; updates that come on every tenth
    step are in it. ``samples_per_s``: of all ranks together.
    """
    found: dict[str, Any] = {}
    for wrap in every[0]:
        slowest = {
            name: [max(at, key=lambda spent: spent[0]) for at in zip(*(r[wrap][name] for r in every), strict=True)]
            for name in every[0][wrap]
        }
        whole = {name: statistics.median(step for step, _ in rows) for name, rows in slowest.items()}
        ends = {name: _end([r[wrap][name] for r in every]) for name in slowest}
        found[wrap] = {
            name: {
                "step_s": whole[name],
                "samples_per_s": batch * len(every) / whole[name],
                "added": (ends[name] - ends[PLAIN]) / whole[PLAIN],
            }
            for name in slowest
        }
    return found


def _end(ranks: Sequence[Sequence[Sequence[float]]]) -> float:
    """Seconds that the end of a step takes on average, on the rank on which that is longest."""
    return max(statistics.mean(after for _, after in rows) for rows in ranks)


__all__ = ["GOAL", "METHODS", "PLAIN", "figures", "work"]
