"""Laws of the graph: what is blocked stays whole, and a specimen's claims are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from niwaki.errors import NothingToPrune
from niwaki.graph import Graph
from niwaki.testing.laws.sameness import SEEDS, random_plans
from niwaki.testing.laws.verdict import LawBroken, demand
from niwaki.testing.zoo import Specimen
from niwaki.tracing import trace
from niwaki.units import Axis, Plan


def blocked_are_untouched(graph: Graph, ratios: Sequence[float] = (0.3, 0.99), seeds: Sequence[int] = SEEDS) -> None:
    """No plan takes an index that the graph calls blocked, and a plan takes just what its groups' members say.

    Raises:
        LawBroken: a plan takes more, or less.
    """
    for plan in random_plans(graph, ratios, seeds):
        for axis, indices in plan.removed.items():
            _allowed(graph, axis, indices)
        _as_listed(graph, plan)


def _allowed(graph: Graph, axis: Axis, indices: tuple[int, ...]) -> None:
    offered = graph.prunable[axis]
    if axis in graph.blocked and not offered.any():
        raise LawBroken(f"a plan removes {list(indices)} of {axis}, which is blocked: {graph.blocked[axis]}")
    stolen = [i for i in indices if not offered[i]]
    demand(not stolen, f"a plan removes {stolen} of {axis}, which no group offers")


def _as_listed(graph: Graph, plan: Plan) -> None:
    """Does the plan remove what the entries of its groups add up to?"""
    listed: dict[Axis, set[int]] = {}
    for name, choice in plan.choices.items():
        for axis, positions in graph[name].removes(np.array(choice.removed, dtype=np.int64)).items():
            listed.setdefault(axis, set()).update(positions.tolist())
    for axis in {*listed, *plan.removed}:
        left, right = sorted(listed.get(axis, ())), list(plan.removed.get(axis, ()))
        demand(left == right, f"of {axis} the groups' entries lose {left}, the plan removes {right}")


def claims_hold(specimen: Specimen) -> None:
    """The graph of a specimen blocks, offers and ties what the specimen claims, neither less nor elsewhere.

    Raises:
        LawBroken: with every claim that is not met.
    """
    try:
        graph: Graph | None = trace(specimen.build(), specimen.inputs())
    except NothingToPrune:
        graph = None
    broken = list(_broken_claims(specimen, graph))
    demand(not broken, f"{specimen.name}: " + "; ".join(broken))


def _broken_claims(specimen: Specimen, graph: Graph | None) -> Iterator[str]:
    groups = [set(g.entries) for g in graph.groups] if graph is not None else []
    offered: set[Axis] = set().union(*groups)
    for place in specimen.blocks:
        if Axis(*place) in offered:
            yield f"{Axis(*place)} must be blocked and is offered"
    for place in specimen.prunable:
        if Axis(*place) not in offered:
            yield f"{Axis(*place)} must be prunable and is not{_why(graph, Axis(*place))}"
    for one, other in specimen.tied:
        if not any({Axis(*one), Axis(*other)} <= axes for axes in groups):
            yield f"{Axis(*one)} and {Axis(*other)} must be in one group and are not"


def _why(graph: Graph | None, axis: Axis) -> str:
    if graph is None:
        return " (the graph offers nothing at all)"
    return f" ({graph.blocked[axis]})" if axis in graph.blocked else ""
