"""How long, how strong, how fast: the paper's settings, and a shorter run of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Settings:
    """Of pruning and of retraining (GReg: appendix and official code, for CIFAR).

    Attributes:
        prune_batch, prune_lr: SGD with momentum 0.9 while a method presses; the rate is constant.
        pick_grow, pick_at, grow, every, ceiling, hold: of the methods, see their cards.
        epochs, batch, lr: of retraining, by SGD with momentum 0.9; ``"step"`` divides the rate by 10 after half of
            the epochs and after three quarters (60 and 90 of 120), ``"cosine"`` lets it fall to zero.
        scratch_lr: the first rate of the network that is trained from scratch, for as many images as pressing and
            retraining together see.
        weight_decay: of everything.
    """

    prune_batch: int = 256
    prune_lr: float = 1e-3
    pick_grow: float = 1e-5
    pick_at: float = 0.01
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
FAST = Settings(prune_batch=128, prune_lr=5e-3, pick_grow=1e-3, pick_at=0.1, grow=2e-3, every=2, hold=200, epochs=5)
"""Presses for 1,200 steps of half the batch in place of 105,000, and retrains for a twenty-fourth of the epochs.

Rates and penalties are such that what they add up to is enough: a weight that no gradient holds shrinks by
``exp(-sum of rate / (1 - momentum) * penalty)``, here by e^-0.5 while GReg-2 picks, as with the paper's settings, and
by e^-35 while the chosen are pressed. A filter before a batch norm is held, though: the smaller it is, the larger is
its gradient, until both are in balance at about a thirtieth of its size; the paper leaves it more time to fade.
"""
PRESETS: Mapping[str, Settings] = {"paper": PAPER, "fast": FAST}


def differences(settings: Settings, other: Settings = PAPER) -> dict[str, tuple[float, float]]:
    """What is not as in the other settings: field to (other value, this one)."""
    mine, theirs = asdict(settings), asdict(other)
    return {f.name: (theirs[f.name], mine[f.name]) for f in fields(Settings) if mine[f.name] != theirs[f.name]}


__all__ = ["FAST", "PAPER", "PRESETS", "Settings", "differences"]
