"""What chance alone gives: the counts of a mask in which every weight survives on its own.

The sparser a mask is, the more its counts differ by chance. Only what goes beyond that is a pattern.
"""

from __future__ import annotations

import math

__all__ = ["gini_by_chance", "spread_by_chance"]

_FAR = 9.0  # standard deviations from the mean: beyond lies less than a double can add


def spread_by_chance(cells: int, share: float) -> float:
    """Standard deviation over mean of a row's survivors, where each of its ``cells`` weights survives with
    probability ``share`` in (0, 1]: √((1 − share) / (share · cells)). With ``share`` 0 it is 0."""
    return math.sqrt((1 - share) / (share * cells)) if share > 0 else 0.0


def gini_by_chance(cells: int, share: float) -> float:
    """The Gini coefficient of the survivors of many such rows: Σₖ F(k) (1 − F(k)) / mean, where F is the binomial
    distribution function. For 2 weights that survive with probability 1/2, F is 1/4, 3/4, 1: (3/16 + 3/16) / 1 = 3/8.
    """
    if not 0 < share < 1:
        return 0.0
    mean, deviation = cells * share, math.sqrt(cells * share * (1 - share))
    low = max(math.floor(mean - _FAR * deviation - _FAR), 0)
    high = min(math.ceil(mean + _FAR * deviation + _FAR), cells)
    odds, chance = share / (1 - share), math.exp(_log_binomial(cells, low, share))
    below = total = 0.0
    for k in range(low, high):
        below += chance
        total += below * max(1 - below, 0.0)
        chance *= odds * (cells - k) / (k + 1)
    return total / mean


def _log_binomial(cells: int, k: int, share: float) -> float:
    """Logarithm of the probability that k of the cells survive."""
    ways = math.lgamma(cells + 1) - math.lgamma(k + 1) - math.lgamma(cells - k + 1)
    return ways + k * math.log(share) + (cells - k) * math.log1p(-share)
