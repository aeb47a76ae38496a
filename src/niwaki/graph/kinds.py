"""What users call units: a head, a neuron, an expert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from niwaki.graph.couple import Coupling
from niwaki.graph.ledger import Ledger
from niwaki.units import Axis

HINTED = ("expert", "state", "head_dim", "kv_group", "head")
"""What rules call units, the strongest word first. (Rotations repeat features of heads as groups repeat heads.)"""
STREAM = ("hidden", "stream", "normed")
"""Said of all that is in a row, so also of its blocks and of what is inside them."""


class Hints:
    """The words that rules used, by component; and ``block`` for what covers a slice of a grid from outside."""

    def __init__(self, ledger: Ledger, coupling: Coupling) -> None:
        hints = [*ledger.hints, *((g.factors[0], "block") for g in ledger.grids)]
        count = int(coupling.component.max()) + 1
        self._flags = {word: np.zeros(count, bool) for word in dict.fromkeys(word for _, word in hints)}
        for ids, word in hints:
            flags = self._flags[word]
            flags[coupling.component[ids]] = True
            rows = coupling.rows.get(coupling.component[ids].tobytes())
            if rows is not None:  # what is inside a loose grid
                flags[coupling.component[rows.ravel()]] = True
        for grid in ledger.grids:
            for flags in (self._flags[word] for word in STREAM if word in self._flags):
                if flags[coupling.component[grid.parent]].any():
                    for factor in grid.factors:
                        flags[coupling.component[factor]] = True

    def of(self, components: np.ndarray) -> set[str]:
        """The words for any of the components."""
        return {word for word, flags in self._flags.items() if flags[components].any()}


def kind_of(ledger: Ledger, makers: Sequence[Axis], whole: bool, hints: set[str]) -> str:
    """By what the operations did with the units, else by what makes them. ``whole``: a unit is more than one position
    of what makes it."""
    kinds = Counter(ledger.kinds.get(axis, "channel") for axis in makers)
    for word in HINTED:
        if word in hints and (whole or word not in ("head", "kv_group")):
            return word
    streams = "stream" in hints and len({axis.name for axis in makers}) > 1  # several layers write to it
    if "hidden" in hints or (streams and ("normed" in hints or not kinds.get("channel"))):
        return "hidden"
    if "channel" in hints and not kinds.get("channel"):  # of a weight that is computed from its makers
        return "channel"
    kind = kinds.most_common(1)[0][0] if kinds else "feature"
    return {"channel": "channel group", "neuron": "head"}.get(kind, kind) if whole and "block" in hints else kind


__all__ = ["Hints", "kind_of"]
