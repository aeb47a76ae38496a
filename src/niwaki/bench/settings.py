"""How long, how strong, how fast: the paper's settings, and a shorter run of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Settings:
    """Of pruning and of retraining (GReg: appendix and official code, for CIFAR).

    Attributes:
        prune_batch, prune_lr: SGD with momentum 0.9 while a method presses; the rate is constant.
        pick_grow, grow, every, ceiling, hold: of the methods, see their cards.
        epochs, batch, lr: of retraining, by SGD with momentum 0.9; ``"step"`` divides the rate by 10 after half of
            the epochs and after three quarters (60 and 90 of 120), ``"cosine"`` lets it fall to zero.
        scratch_lr: the first rate of the network that is trained from scratch, for as many images as pressing and
            retraining together see.
        weight_decay: of everything.
    """

    prune_batch: int = 256
    prune_lr: float = 1e-3
    pick_grow: float = 1e-5
    grow: float = 1e-4
    every: int = 10
    ceiling: float = 1.0
    hold: int = 5_000
    epochs: int = 120
    batch: int = 128
    lr: float = 1e-2
    low_lr: float = 1e-3
    scratch_lr: float = 0.1
    weight_decay: float = 5e-4


PAPER = Settings()
FAST = Settings(pick_grow=2e-4, grow=4e-3, every=4, hold=200, epochs=10)
"""Presses for about 1,000 steps in place of 100,000, and retrains for a twelfth of the epochs."""
PRESETS: Mapping[str, Settings] = {"paper": PAPER, "fast": FAST}


def differences(settings: Settings, other: Settings = PAPER) -> dict[str, tuple[float, float]]:
    """What is not as in the other settings: field to (other value, this one)."""
    mine, theirs = asdict(settings), asdict(other)
    return {f.name: (theirs[f.name], mine[f.name]) for f in fields(Settings) if mine[f.name] != theirs[f.name]}


__all__ = ["FAST", "PAPER", "PRESETS", "Settings", "differences"]
