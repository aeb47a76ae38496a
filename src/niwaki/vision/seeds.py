"""Which random numbers an epoch of a run has."""

from __future__ import annotations

APART = 10_007
"""Between the seeds of two runs: more than a run has epochs."""


def epoch_seed(seed: int, epoch: int) -> int:
    """For the generator of one epoch: runs of neighbouring seeds have no epoch in common."""
    return (seed * APART + epoch) % 2**63


__all__ = ["APART", "epoch_seed"]
