"""How long and how fast the networks of the MNIST study are trained: the paper's schedule, and a shorter one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from niwaki.recipes.rates import Step


@dataclass(frozen=True)
class Schedule:
    """Of one training by SGD with momentum, without weight decay; a tenth of the rate at half and three quarters.

    Attributes:
        epochs: passes over the training images. lr: the first rate. batch: images in a step.
        bfloat16: compute products in bfloat16 (weights and their updates stay in float32).
    """

    epochs: int
    lr: float = 1e-3
    batch: int = 128
    momentum: float = 0.9
    bfloat16: bool = False

    @property
    def steps_down(self) -> Step:
        """Where the rate falls."""
        return Step((0.5, 0.75))


@dataclass(frozen=True)
class Settings:
    """Of the whole study.

    Attributes:
        dense: of the wide network (paper, appendix A). tune: after pruning. The paper says 50 epochs of SGD with
            momentum; its rate is not known, and the one here is reconstructed: that of the wide network.
        width: hidden units. kept: how many of them stay. iters, sample: of i-SpaSP, images drawn anew per iteration.
        tries: candidates of a step of greedy forward selection, each step on ``sample`` new images.
        fit: images for least-squares compensation. ridge: its weight, relative to the mean squared activation.
    """

    dense: Schedule = Schedule(200)
    tune: Schedule = Schedule(50)
    width: int = 10_000
    kept: tuple[int, ...] = (100, 250, 500, 750, 1000)
    iters: int = 20
    sample: int = 512
    tries: int = 50
    fit: int = 10_000
    ridge: float = 1e-3


PAPER = Settings()
FAST = Settings(dense=Schedule(20, lr=1e-2, bfloat16=True), tune=Schedule(5, lr=1e-2, bfloat16=True))
"""A tenth of the epochs at ten times the rate, products in bfloat16."""
PRESETS: Mapping[str, Settings] = {"paper": PAPER, "fast": FAST}


def in_bfloat16(settings: Settings) -> Settings:
    """The same with products in bfloat16."""
    return replace(
        settings,
        dense=replace(settings.dense, bfloat16=True),
        tune=replace(settings.tune, bfloat16=True),
    )


def differences(settings: Settings, other: Settings = PAPER) -> dict[str, tuple[Any, Any]]:
    """What is not as in the other settings: name (``dense.lr``) to (other value, this one)."""
    mine, theirs = _flat(asdict(settings)), _flat(asdict(other))
    return {name: (theirs[name], mine[name]) for name in mine if mine[name] != theirs[name]}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


__all__ = ["FAST", "PAPER", "PRESETS", "Schedule", "Settings", "differences", "in_bfloat16"]
