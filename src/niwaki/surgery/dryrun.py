"""Prove every group before it is offered: cut one legal step of it, run the forward again, and compare what is seen.

A forward that fails names a size written in the code. A forward that runs but couples other axes than before would be
silently wrong (a slice with written bounds, say); comparing the units of the two traces finds it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from torch import nn

from niwaki.errors import UntraceableModel
from niwaki.graph import Graph
from niwaki.graph.couple import Coupling, couple
from niwaki.graph.labels import Reason
from niwaki.graph.ledger import Ledger
from niwaki.graph.observe import Inputs, Observation, observe, skeleton
from niwaki.surgery.cut import cut_
from niwaki.surgery.decide import ladder, make_plan
from niwaki.surgery.modules import follow
from niwaki.units import Axis, Group, Plan

ADVICE = "Take the size from the tensor instead, or register an adapter for the module (nk.adapter)."


def prove(graph: Graph, model: nn.Module, inputs: Inputs) -> Graph:
    """The graph without the groups that cannot be cut, each withdrawn with the reason."""
    while True:
        denied = _failing(graph, model, inputs, graph.groups)
        if not denied:
            return graph
        graph = graph.without(denied)


def _failing(graph: Graph, model: nn.Module, inputs: Inputs, groups: Sequence[Group]) -> dict[str, Reason]:
    """Groups to withdraw: all together first, then by halves until the guilty ones are found."""
    trouble = _try(graph, model, inputs, groups) if groups else None
    if trouble is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: trouble}
    half = len(groups) // 2
    guilty = _failing(graph, model, inputs, groups[:half]) | _failing(graph, model, inputs, groups[half:])
    return guilty or {groups[-1].name: trouble}  # only together do they fail: give one up


def _try(graph: Graph, model: nn.Module, inputs: Inputs, groups: Sequence[Group]) -> Reason | None:
    """Cut one step of each group on a weightless copy and trace it; None if all is as foretold."""
    steps = {g.name: _first_step(g) for g in groups}
    plan = make_plan(graph, {name: step for name, step in steps.items() if step})
    if any(not step for step in steps.values()):
        return Reason("no legal step: a balance leaves nothing to remove")
    try:
        after = _observe_cut(graph, model, plan, inputs)
    except UntraceableModel as trouble:
        return Reason(f"after a cut the forward pass fails: {trouble.__cause__ or trouble}", None, ADVICE)
    except Exception as trouble:
        return Reason(f"it cannot be cut: {type(trouble).__name__}: {trouble}", None, ADVICE)
    if not _same_units(graph.ledger, graph.coupling, after.ledger, couple(after.ledger), plan):
        return Reason("after a cut the forward pass couples other indices than before", None, ADVICE)
    return None


def _first_step(group: Group) -> tuple[int, ...]:
    """The first legal step when low unit numbers go first, so that all others shift."""
    rungs = ladder(group, np.arange(len(group), dtype=float), 1)
    return rungs.chosen(1) if rungs.steps else ()


def _observe_cut(graph: Graph, model: nn.Module, plan: Plan, inputs: Inputs) -> Observation:
    if graph.observation.real:
        small = copy.deepcopy(model)
        cut_(small, plan)
        return observe(small, inputs)
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    small = skeleton(model, fake, {axis.name: plan.shape(axis.name) for axis in plan.removed})
    follow(small, plan.removed, plan.tensors)
    return observe(small, inputs)


def _same_units(before: Ledger, old: Coupling, after: Ledger, new: Coupling, plan: Plan) -> bool:
    """Do the units of the cut model hold exactly what is left of the units of the dense one?

    Every tensor entry along an axis gets a random 64-bit number; a unit's signature is the sum over what it holds.
    """
    numbers = np.random.default_rng(1).integers(1, 2**62, size=before.size, dtype=np.int64)
    left, right = np.zeros(before.size, np.int64), np.zeros(after.size, np.int64)
    stays = {axis: ids[plan.kept(axis)] for axis, ids in before.axes.items()}
    for axis, ids in stays.items():
        if axis not in after.axes or after.axes[axis].size != ids.size:
            return False
        left[ids] = right[after.axes[axis]] = numbers[ids]
    with np.errstate(over="ignore"):
        ours, theirs = old.units.astype(np.int64) @ left, new.units.astype(np.int64) @ right
    # A loose unit that is now the last of its row has merged with the row; a unit that fills an axis can no longer go,
    # and what it is tied to may be read otherwise (one depthwise channel is a plain convolution).
    must = ours[~old.loose & ~_fills_an_axis(old, stays)]
    new_ones = theirs[~_fills_an_axis(new, after.axes)]
    return bool(np.isin(new_ones, ours).all() and np.isin(must[must != 0], theirs).all())


def _fills_an_axis(coupling: Coupling, axes: Mapping[Axis, np.ndarray]) -> np.ndarray:
    """Units that hold all atoms of some axis."""
    runs = list(axes.values())
    atoms, column = np.concatenate(runs), np.repeat(np.arange(len(runs)), [r.size for r in runs])
    shape = (coupling.component.size, len(runs))
    by_axis = sparse.csr_matrix((np.ones(atoms.size, np.int32), (atoms, column)), shape=shape)
    counts = (coupling.units.astype(np.int32) @ by_axis).tocoo()
    sizes = np.array([r.size for r in runs])
    fills = np.zeros(coupling.units.shape[0], bool)
    fills[counts.row[counts.data == sizes[counts.col]]] = True
    return fills
