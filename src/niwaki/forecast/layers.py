"""The products of a traced model, with the widths that a plan leaves them, and what it computes beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from niwaki.forecast.shapes import Shape, Side
from niwaki.graph import Graph
from niwaki.graph.work import Length, Task, Work


@dataclass(frozen=True, eq=False)
class Layer:
    """One product: where it is, what it computes, and its shape, which several layers may share."""

    module: str
    work: Work
    shape: Shape


class Layers:
    """What a model computes, as a forecast sees it.

    ``layers``: its products that can be timed alone. ``volume``: entries that all other operations write, as attention,
    norms, activations and sums do: these take time by what they move.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        offered = graph.removed_atoms({g.name: tuple(range(len(g))) for g in graph.groups})
        whole = np.ones(graph.ledger.size, bool)
        self.layers = tuple(
            Layer(cost.site.module, cost.work, _shape(cost.work, whole, offered))
            for cost in graph.ledger.costs
            if cost.work is not None
        )
        products = Counter(str(cost.site) for cost in graph.ledger.costs if cost.work is not None)
        self.others = tuple(
            (int(np.prod([n for n, ids in seen if ids is None])), tuple(ids for _, ids in seen if ids is not None))
            for site, seen in graph.ledger.written
            if str(site) not in products
        )

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Each once, in the model's order."""
        return tuple(dict.fromkeys(layer.shape for layer in self.layers))

    def tasks(self, kept: np.ndarray) -> list[tuple[Shape, Task]]:
        """Every product when ``kept`` (bool per atom) says what stays."""
        return [(layer.shape, layer.work.task(kept)) for layer in self.layers]

    def volume(self, kept: np.ndarray) -> int:
        """Entries that the other operations write."""
        return sum(size * int(np.prod([int(kept[ids].sum()) for ids in axes])) for size, axes in self.others)


def _shape(work: Work, whole: np.ndarray, offered: np.ndarray) -> Shape:
    def can_change(length: Length) -> bool:
        return isinstance(length, np.ndarray) and bool(offered[length].any())

    dense = work.task(whole)
    sides: dict[Side, bool] = {"made": can_change(work.made), "taken": can_change(work.taken)}
    if dense.groups > 1:  # the channels that enter say how many groups there are
        sides["taken"] = sides["taken"] or can_change(work.source)
    return Shape(dense, frozenset(side for side, changes in sides.items() if changes))


__all__ = ["Layer", "Layers"]
