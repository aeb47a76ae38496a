"""Choose units for a target of memory, as for one of multiply-adds: as little goes as is enough."""

from __future__ import annotations

from collections.abc import Sequence

from niwaki.graph import Graph
from niwaki.measure.activations import peak_memory
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import by_cost, make_plan, not_empty
from niwaki.surgery.ladders import Ladder
from niwaki.surgery.weightless import weightless
from niwaki.targets import Memory
from niwaki.units import Selection


def decide(graph: Graph, ladders: Sequence[Ladder], target: Memory) -> dict[str, tuple[int, ...]]:
    """The units that go, by group: the largest model whose peak memory fits.

    Raises:
        UnreachableTarget: no legal plan's does.
    """
    known: dict[tuple[int, ...], int] = {}

    def cost(selection: Selection) -> int:
        legal = not_empty(graph, list(ladders), dict(selection))
        key = tuple(len(units) for units in legal.values())
        if key not in known:
            known[key] = _peak(graph, legal)
        return known[key]

    return by_cost(list(ladders), target, cost, target.remain, "bytes of peak memory")


def _peak(graph: Graph, selection: Selection) -> int:
    """Of the network that is left: without weights, where the model could be traced so."""
    plan, inputs = make_plan(graph, selection), graph.observation.inputs
    if graph.observation.real:
        return peak_memory(cut(graph.model, plan, config=False), inputs)
    return peak_memory(weightless(graph.model, plan), inputs)


__all__ = ["decide"]
