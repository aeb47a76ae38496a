"""Prove every group before it is offered: cut one legal step of it, run the forward again, and compare what is seen.

A forward that fails names a size written in the code. A forward that runs but couples other axes than before would be
silently wrong (a slice with written bounds, say); comparing the units of the two traces finds it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

import numpy as np
from scipy import sparse
from torch import nn

from niwaki.errors import CannotFollow, IllegalPlan, UntraceableModel
from niwaki.graph import Graph
from niwaki.graph.copies import duplicate
from niwaki.graph.couple import Coupling, couple, fills_an_axis
from niwaki.graph.labels import Reason, Site
from niwaki.graph.ledger import Ledger
from niwaki.graph.observe import Inputs, Observation, observe
from niwaki.surgery.certify import certify
from niwaki.surgery.cut import cut, cut_
from niwaki.surgery.decide import make_plan, not_empty
from niwaki.surgery.hugging import untold
from niwaki.surgery.ladders import Ladder, ladder
from niwaki.surgery.weightless import weightless
from niwaki.units import Axis, Group, Plan, Selection

ADVICE = (
    "Take the size from the tensor instead, or register an adapter for the module (nk.adapter) or, if it has no "
    "tensors of its own, for the one around it (niwaki.surgery.modules.surround)."
)


def prove(graph: Graph, model: nn.Module, inputs: Inputs) -> Graph:
    """The graph without the groups that cannot be cut, each withdrawn with the reason.

    Two things are guesses: that a slice which looks like a half is meant as one, and that numbers of shared ``config``
    objects stay. Where a balance blocks or a group fails, the other readings are tried, and the one that offers most
    is kept.
    """
    best = _withdrawn(graph, model, inputs)
    for configs, guess in ((True, True), (False, False), (True, False)):
        if not _worth_another(best):
            break
        if configs and not any(n.attribute.startswith("config.") for n in graph.ledger.numbers):
            continue
        if not guess and not any(b.guessed for b in graph.ledger.balances):
            continue
        other = Graph(graph.observation, graph.model, configs=configs, guess=guess)
        if _reach(other) > _reach(best):
            best = max(best, _withdrawn(other, model, inputs), key=_reach)
    return best


def _worth_another(graph: Graph) -> bool:
    """Did a group fail, or does a balance leave units that can never go?"""
    return bool(graph.denied) or any(r.text.startswith("parts of an axis") for r in graph.coupling.reasons.values())


def _reach(graph: Graph) -> int:
    return sum(len(g) for g in graph.groups)


def _withdrawn(graph: Graph, model: nn.Module, inputs: Inputs) -> Graph:
    while True:
        denied = _failing(graph, model, inputs, _families(graph.groups))
        if not denied:
            break
        graph = graph.without(denied)
    return _fathomed(graph, model, inputs)


def _fathomed(graph: Graph, model: nn.Module, inputs: Inputs) -> Graph:
    """Prove the deepest cut too: a length of one may be squeezed away, an ``if`` may ask for more than so many. Groups
    that fail there are offered a step less deep, or half as deep, if one, two and three steps do (one that pads to even
    lengths fails at every other); or else withdrawn."""
    if _try_depth(graph, model, inputs, graph.groups, _all) is None:
        return graph
    least: dict[str, int] = {}
    denied: dict[str, Reason] = {}
    for family in _families(graph.groups):
        trouble = _try_depth(graph, model, inputs, family, _all)
        if trouble is None:
            continue
        deepest = _at_depth(family, _all)
        shallow = [few for few in (_one, _two, _three) if _at_depth(family, few) != deepest]
        first = (_try_depth(graph, model, inputs, family, few) for few in shallow)
        trouble = next(filter(None, first), None)
        for depth in () if trouble else (_all_but_one, _half):
            trouble = _try_depth(graph, model, inputs, family, depth)
            if trouble is None:
                least |= _least(family, depth)
                break
        if trouble is not None:
            denied |= dict.fromkeys((group.name for group in family), trouble)
    graph = graph.without(denied).limited(least)
    for depth in (_all_but_one, _half):  # where groups fail only together
        if not graph.groups or _try_depth(graph, model, inputs, graph.groups, _all) is None:
            break
        graph = graph.limited(_least(graph.groups, depth))
    return graph


Depth = Callable[[int], int]
"""How many of a number of legal steps."""


def _all(steps: int) -> int:
    return steps


def _all_but_one(steps: int) -> int:
    return max(1, steps - 1)


def _one(steps: int) -> int:
    return 1


def _two(steps: int) -> int:
    return min(2, steps)


def _three(steps: int) -> int:
    return min(3, steps)


def _half(steps: int) -> int:
    return max(1, steps // 2)


def _at_depth(groups: Sequence[Group], depth: Depth) -> dict[str, tuple[int, ...]]:
    """The first units of each group in legal steps, so deep; groups that have a step at all."""
    ladders = [ladder(g, np.arange(len(g), dtype=float), 1) for g in groups]
    return {r.group.name: r.chosen(depth(len(r))) for r in ladders if len(r)}


def _least(groups: Sequence[Group], depth: Depth) -> dict[str, int]:
    """How many units of each group stay at a depth."""
    chosen = _at_depth(groups, depth)
    return {g.name: len(g) - len(chosen.get(g.name, ())) for g in groups}


def _try_depth(graph: Graph, model: nn.Module, inputs: Inputs, groups: Sequence[Group], depth: Depth) -> Reason | None:
    chosen = _at_depth(groups, depth)
    ladders = [ladder(g, np.arange(len(g), dtype=float), 1) for g in groups]
    return _try_plan(graph, model, inputs, not_empty(graph, ladders, chosen)) if chosen else None


Family = tuple[Group, ...]


def _families(groups: Sequence[Group]) -> list[Family]:
    """Groups of the same place in layers of the same kind: what holds for one of them mostly holds for all."""
    found: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        found.setdefault((re.sub(r"\d+", "N", group.name), group.kind, len(group)), []).append(group)
    return [tuple(members) for members in found.values()]


def _failing(graph: Graph, model: nn.Module, inputs: Inputs, families: Sequence[Family]) -> dict[str, Reason]:
    """Groups to withdraw: all together first, then those that live where it failed, then by halves."""
    trouble = _try(graph, model, inputs, [g for f in families for g in f]) if families else None
    if trouble is None:
        return {}
    if len(families) == 1:
        return _guilty(graph, model, inputs, families[0], trouble)
    near, far = _halves(families, trouble)
    guilty = _failing(graph, model, inputs, near) | _failing(graph, model, inputs, far)
    return guilty or {g.name: trouble for g in families[-1]}  # only together do they fail: give one family up


def _halves(families: Sequence[Family], trouble: Reason) -> tuple[list[Family], list[Family]]:
    """The families with a tensor in the module where it failed, or else in the module around it, and the others."""
    place = trouble.site.module if trouble.site else ""
    while place:
        near = [f for f in families if any(m.name.startswith(place + ".") for g in f for m in g.members)]
        if near and len(near) <= len(families) / 2:
            return near, [f for f in families if f not in near]
        if len(near) == len(families):
            break
        place = place.rpartition(".")[0]
    half = len(families) // 2
    return list(families[:half]), list(families[half:])


def _guilty(graph: Graph, model: nn.Module, inputs: Inputs, family: Family, trouble: Reason) -> dict[str, Reason]:
    """The members of a family that fail. If the first and the last do by themselves, all of them do."""
    if len(family) == 1:
        return {family[0].name: trouble}
    ends = [_try(graph, model, inputs, [g]) for g in (family[0], family[-1])]
    if all(ends):
        return {g.name: trouble for g in family}
    half = len(family) // 2
    guilty = _failing(graph, model, inputs, [family[:half]]) | _failing(graph, model, inputs, [family[half:]])
    return guilty or {g.name: trouble for g in family}


def _try(graph: Graph, model: nn.Module, inputs: Inputs, groups: Sequence[Group]) -> Reason | None:
    """Cut legal steps of each group on a weightless copy and trace it; None if all is as foretold.

    A few steps do, unless a slice has bounds that are neither computed from the shape nor equal parts: whether such a
    number follows is seen only when units go from either end, and many of them.
    """
    ladders = [ladder(g, np.arange(len(g), dtype=float), 1) for g in groups]
    if not all(len(rungs) for rungs in ladders):
        return Reason("no legal step: a balance leaves nothing to remove")
    for chosen in _unlike(ladders):
        trouble = _try_plan(graph, model, inputs, not_empty(graph, ladders, chosen))
        if trouble:
            return trouble
    suspicious = _suspicious(graph, groups)
    if not suspicious:
        return None
    backwards = [ladder(g, -np.arange(len(g), dtype=float), 1) for g in suspicious]
    shuffled = [ladder(g, np.random.default_rng(0).permutation(len(g)).astype(float), 1) for g in suspicious]
    return _try_plan(graph, model, inputs, {r.group.name: r.chosen(1) for r in backwards}) or _try_plan(
        graph, model, inputs, {r.group.name: r.chosen((len(r) + 1) // 2) for r in shuffled}
    )


def _unlike(ladders: Sequence[Ladder]) -> Iterator[dict[str, tuple[int, ...]]]:
    """One choice or two: in one of them at least, two groups of one length lose unlike numbers of units. A length which
    is taken for that of another group, or must be the same in both, is then seen."""
    seen: Counter[int] = Counter()
    turns: list[int] = []
    for rungs in ladders:
        turns.append(seen[len(rungs.group)])
        seen[len(rungs.group)] += 1
    yield {r.group.name: r.chosen(_count(turn, len(r))) for r, turn in zip(ladders, turns, strict=True)}
    if any(turn >= _cycle(len(r)) for r, turn in zip(ladders, turns, strict=True)):
        yield {r.group.name: r.chosen(_second_count(turn, len(r))) for r, turn in zip(ladders, turns, strict=True)}


def _count(turn: int, steps: int) -> int:
    """How many of so many steps: another number for each turn, and odd where all of them are even and the reverse. So,
    with the deepest cut, both are tried (a length may be padded to an even one)."""
    return _first(steps) + 2 * (turn % _cycle(steps))


def _second_count(turn: int, steps: int) -> int:
    """Another number for turns to which :func:`_count` gives the same. It may be none, and not all, if there is more
    than one: the deepest cut is proven by itself."""
    return (max(1, steps // 2) + turn // _cycle(steps)) % max(2, steps)


def _first(steps: int) -> int:
    return min(2 - (steps + 1) % 2, steps)


def _cycle(steps: int) -> int:
    """How many turns :func:`_count` tells apart."""
    return (steps - _first(steps)) // 2 + 1


def _suspicious(graph: Graph, groups: Sequence[Group]) -> list[Group]:
    """Groups with units that go through a slice of written bounds."""
    slices = [] if graph.guess else [p for b in graph.ledger.balances if b.guessed for p in b.parts]
    suspects = [*graph.ledger.suspects, *slices]
    if not suspects:
        return []
    ids = np.concatenate(suspects)
    return [g for g in groups if graph.removed_atoms({g.name: tuple(range(len(g)))})[ids].any()]


def _try_plan(graph: Graph, model: nn.Module, inputs: Inputs, selection: Selection) -> Reason | None:
    try:
        plan = make_plan(graph, selection)
        after = _observe_cut(graph, model, plan, inputs)
    except UntraceableModel as trouble:
        site = Site("call", trouble.module, "the forward pass") if trouble.module else None
        return Reason(f"after a cut the forward pass fails: {trouble.__cause__ or trouble}", site, ADVICE)
    except IllegalPlan as trouble:
        return Reason(str(trouble))
    except CannotFollow as trouble:  # says itself what to do
        return Reason(f"it cannot be cut: {str(trouble).rstrip('.')}")
    except Exception as trouble:
        return Reason(f"it cannot be cut: {type(trouble).__name__}: {trouble}", None, ADVICE)
    numbered = _numbered(graph.ledger, after.ledger, plan)
    changed = _changed_constant(graph.ledger, after.ledger)
    if changed is None and not graph.observation.real:
        changed = _other_calls(graph, after, plan, numbered)
    if changed:
        return changed
    if not _same_units(graph.ledger, graph.unbound, after.ledger, couple(after.ledger, guess=graph.guess), numbered):
        return Reason("after a cut the forward pass couples other indices than before", None, ADVICE)
    return _other_values(graph, model, inputs, plan) if graph.observation.real else None


def _other_values(graph: Graph, model: nn.Module, inputs: Inputs, plan: Plan) -> Reason | None:
    """A model that reads values may take another turn for good reasons: compare what it computes instead."""
    small = cut(model, plan, config=False)
    certificate = certify(model, plan, small, inputs, graph=graph, tolerance=1e-3)
    bad = next((c for c in certificate.checks if not c.holds), None)
    if bad is None:
        return None
    worst = bad.detail if bad.worst is None else f"by {bad.worst:.1e}"
    return Reason(f"after a cut the model differs from the masked one ({bad.kind}, {worst})", None, ADVICE)


def _changed_constant(before: Ledger, after: Ledger) -> Reason | None:
    """A number in the arithmetic that is computed from a length (``1 / sqrt(head_dim)``) would change with it."""
    for (op, module, line), values in after.constants.items():
        new = values - before.constants.get((op, module, line), set())
        if new:
            site = Site(op, module, line)
            text = f"after a cut the forward pass computes with another number ({', '.join(map(str, min(new)))})"
            return Reason(text, site, "Store the number of the dense model instead of computing it from a size.")
    return None


def _other_calls(graph: Graph, after: Observation, plan: Plan, numbered: Numbered) -> Reason | None:
    """A forward pass that takes another turn (an ``if`` on a size, one part more or less) computes something else; so
    does one that takes other positions than those that are left of the ones it took before."""
    _, left, right = numbered
    kept = ~graph.atoms_gone(plan.removed)
    known: dict[tuple[int, int, int], bool] = {}  # most labels are seen many times
    for old, new in zip_longest(graph.ledger.calls, after.ledger.calls):
        if old is None or new is None or old[0] != new[0] or len(old[1]) != len(new[1]):
            site = (new or old)[0]
            return Reason("after a cut the forward pass runs other operations from here on", site, ADVICE)
        for (_, dense), (length, small) in zip(old[1], new[1], strict=True):
            if dense is None:
                continue
            key = (id(dense), id(small), length)
            if key not in known:
                known[key] = _same_positions(graph, dense, small, length, kept, left, right)
            if not known[key]:
                return Reason("after a cut the forward pass takes other positions here than before", old[0], ADVICE)
    return None


def _same_positions(
    graph: Graph,
    dense: np.ndarray,
    small: np.ndarray | None,
    length: int,
    kept: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
) -> bool:
    """Does a dimension hold what is left of what it held? Of positions that belong to no tensor (heads, and what is
    inside them) only the number can be compared; of a part of what is inside the rows of a loose grid, not even that.
    """
    numbers = left[dense[kept[dense]]]
    if small is not None and numbers.any():
        return np.array_equal(numbers, right[small])
    coupling = graph.coupling
    inner = coupling.component[dense]
    if inner.size and coupling.inside_loose[inner].any() and inner.tobytes() not in coupling.rows:
        return True
    return coupling.length(dense, kept) == length


def _observe_cut(graph: Graph, model: nn.Module, plan: Plan, inputs: Inputs) -> Observation:
    if graph.observation.real:
        small = duplicate(model)
        with untold():
            cut_(small, plan)
        return observe(small, inputs)
    return observe(weightless(model, plan), inputs, training=bool(graph.observation.late))


def _same_units(before: Ledger, old: Coupling, after: Ledger, new: Coupling, numbered: Numbered) -> bool:
    """Do the units of the cut model hold exactly what is left of the units of the dense one?

    Every tensor entry along an axis gets a random 64-bit number; a unit's signature is the sum over what it holds.
    """
    stays, left, right = numbered
    with np.errstate(over="ignore"):
        ours, theirs = old.units @ left, new.units @ right
    if np.array_equal(np.sort(ours[ours != 0]), np.sort(theirs)):
        return True
    # A loose unit that is now the last of its row has merged with the row; a unit that fills an axis can no longer go,
    # and what it is tied to may be read otherwise (one depthwise channel is a plain convolution).
    lost = ~np.isin(ours, theirs) & (ours != 0) & ~old.loose & ~fills_an_axis(old.units, stays)
    found = ~np.isin(theirs, ours) & ~fills_an_axis(new.units, after.axes)
    if not lost.any() and not found.any():
        return True
    if not new.loose[found].all():
        return False
    return _splits(old.units[lost], ours[lost], left, new.units[found], theirs[found], right)


Numbered = tuple[dict[Axis, np.ndarray], np.ndarray, np.ndarray]


def _numbered(before: Ledger, after: Ledger, plan: Plan) -> Numbered:
    """What stays of every axis, and the same random number for an atom of the dense model and of the cut one; 0 for
    atoms that go, and for those of no tensor."""
    numbers = np.random.default_rng(1).integers(1, 2**62, size=before.size, dtype=np.int64)
    left, right = np.zeros(before.size, np.int64), np.zeros(after.size, np.int64)
    stays = {axis: np.delete(ids, plan.removed.get(axis, ())) for axis, ids in before.axes.items()}
    for axis, ids in stays.items():
        left[ids] = right[after.axes[axis]] = numbers[ids]
    return stays, left, right


def _splits(
    whole: sparse.csr_matrix,
    wholes: np.ndarray,
    left: np.ndarray,
    small: sparse.csr_matrix,
    smalls: np.ndarray,
    right: np.ndarray,
) -> bool:
    """Is every unit of ``whole`` the disjoint union of units of ``small``? (Signatures and the atoms' numbers beside
    each.) So it is where a dimension inside heads had to be the same one in all heads, and no longer must."""
    if not whole.shape[0] or not small.shape[0]:
        return False
    row, atoms = whole.nonzero()
    holder = dict(zip(left[atoms].tolist(), row.tolist(), strict=True))
    sums = np.zeros(whole.shape[0], np.int64)
    for unit in range(small.shape[0]):
        numbers = right[small.indices[small.indptr[unit] : small.indptr[unit + 1]]]
        into = {holder.get(int(n)) for n in numbers if n}
        if len(into) != 1 or None in into:
            return False
        with np.errstate(over="ignore"):
            sums[into.pop()] += smalls[unit]
    return bool((sums == wholes).all())
