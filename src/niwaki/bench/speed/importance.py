"""How much of the dense network's importance a plan keeps, and the even plan that keeps as much."""

from __future__ import annotations

from niwaki.graph import Graph
from niwaki.scores import L1
from niwaki.surgery.decide import make_plan, select
from niwaki.targets import Ratio
from niwaki.units import Plan

MULTIPLE = 8
_HALVINGS = 14


class Importance:
    """The L1 norm of every unit of a graph, over the mean of its group. Of random weights it says how much of the score
    stays, and nothing about accuracy."""

    def __init__(self, graph: Graph) -> None:
        tensors = dict(graph.tensors())
        self._graph = graph
        self._norms = {g.name: L1()(g, tensors).double() for g in graph.groups}
        self._worth = {name: norms / norms.mean() for name, norms in self._norms.items()}

    def kept(self, plan: Plan) -> float:
        """The share that stays, 0 to 1."""
        whole = sum(float(w.sum()) for w in self._worth.values())
        gone = sum(float(self._worth[name][list(c.removed)].sum()) for name, c in plan.choices.items())
        return (whole - gone) / whole

    def even(self, kept: float) -> Plan:
        """Of the plans that take the same share of every group, in multiples of 8, the one that keeps the most of those
        that keep no more than ``kept``; the deepest if all keep more."""
        low, high = 0.0, 1 - 1e-6
        best = self._evenly(high)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            plan = self._evenly(middle)
            if self.kept(plan) <= kept:
                high, best = middle, plan
            else:
                low = middle
        return best

    def _evenly(self, share: float) -> Plan:
        return make_plan(self._graph, select(self._graph, self._norms, Ratio(share, round_to=MULTIPLE)))


__all__ = ["MULTIPLE", "Importance"]
