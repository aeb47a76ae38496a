"""How unequal counts are. Whole numbers up to the last division: the order of the counts changes no bit."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["gini", "spread"]


def gini(counts: Sequence[int]) -> float:
    """The Gini coefficient of counts, each 0 or more: 0 where all are equal, near 1 where one has everything.

    With the counts in ascending order, x₁ ≤ … ≤ xₙ, it is Σᵢ (2i − n − 1) xᵢ / (n Σᵢ xᵢ): half the mean difference of
    two counts over their mean. For 1, 2, 3, 6 that is (−3·1 − 1·2 + 1·3 + 3·6) / (4·12) = 1/3. It is at most
    1 − 1/n. Where all counts are 0 they are equal, and it is 0.
    """
    n, total = len(counts), sum(counts)
    if not total:
        return 0.0
    return sum((2 * i - n - 1) * x for i, x in enumerate(sorted(counts), start=1)) / (n * total)


def spread(counts: Sequence[int]) -> float:
    """The standard deviation of counts (of all of them: divided by n) over their mean; 0 where all counts are 0.

    For 1, 2, 3, 6 the mean is 3 and the variance (4 + 1 + 0 + 9) / 4 = 3.5, so that it is √3.5 / 3 = 0.62. It is at
    most √(n − 1), where one has everything.
    """
    n, total = len(counts), sum(counts)
    if not total:
        return 0.0
    return math.sqrt(n * sum(x * x for x in counts) - total * total) / total
