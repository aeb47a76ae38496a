"""The ways in which a network is cut to a goal: 2 or 4 times fewer multiply-adds, or 2 or 4 times less time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from niwaki.bench.speed import rival
from niwaki.bench.speed.importance import MULTIPLE, Importance
from niwaki.errors import NiwakiError
from niwaki.graph import Graph
from niwaki.scores import L1
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import plan
from niwaki.targets import Latency, Macs, Target
from niwaki.units import Plan

GOALS = (2, 4)
WAYS = {
    "uniform": "every group alike",
    "macs": "target of multiply-adds",
    "latency": "target of latency",
    "even": "every group alike, as important",
    "torch-pruning": "Torch-Pruning",
}
"""By name; in this order they are made: ``even`` keeps as much importance as ``latency`` does."""
OURS = ("macs", "latency")
"""Those that the goals are for."""

Variant = tuple[str, int]
"""A way and its goal."""
VARIANTS: tuple[Variant, ...] = tuple((way, goal) for way in WAYS for goal in GOALS)
"""All that is timed."""


@dataclass(frozen=True)
class Cut:
    """A smaller network. ``importance``: share of the dense network's; None where units cannot be told."""

    model: nn.Module
    importance: float | None


@dataclass
class Ways:
    """All ways for one network, traced with the inputs that it is timed on.

    ``runtime``: that of the cell. ``rivals``: the folder of what Torch-Pruning needs to be asked only once.
    """

    network: str
    graph: Graph
    runtime: str
    rivals: Path
    _importance: Importance = field(init=False)
    _plans: dict[Variant, Plan] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._importance = Importance(self.graph)

    def make(self, way: str, goal: int) -> Cut:
        """Cut the network.

        Raises:
            NiwakiError: that cannot be had; the message says why.
        """
        if way == "torch-pruning":
            return Cut(rival.model(self.network, goal, self.rivals), None)
        made = self._plans[way, goal] = self._even(goal) if way == "even" else self._plan(way, goal)
        return Cut(cut(self.graph.model, made, config=False).eval(), self._importance.kept(made))

    def _even(self, goal: int) -> Plan:
        """As important as the plan by latency, which is made before."""
        if ("latency", goal) not in self._plans:
            raise NiwakiError(f"no plan takes 1/{goal} of the time")
        return self._importance.even(self._importance.kept(self._plans["latency", goal]))

    def _plan(self, way: str, goal: int) -> Plan:
        """One profile of a graph serves all its targets of latency."""
        targets: dict[str, Callable[[], Target]] = {
            "uniform": lambda: Macs(1 / goal),
            "macs": lambda: Macs(1 / goal, scope="global", round_to=MULTIPLE),
            "latency": lambda: Latency(1 / goal, runtime=self.runtime, threads=1),
        }
        return plan(self.graph, L1(), targets[way]())


__all__ = ["GOALS", "OURS", "VARIANTS", "WAYS", "Cut", "Ways"]
