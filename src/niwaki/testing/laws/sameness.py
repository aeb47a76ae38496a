"""Laws of the cut: a cut model equals its masked twin, and what is dead costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from niwaki.graph import Graph
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating, tensors_of
from niwaki.scores import Random
from niwaki.surgery import certify as room
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import plan as choose
from niwaki.surgery.masks import mask
from niwaki.targets import Ratio
from niwaki.testing.laws.verdict import LawBroken, attempting, demand, same_bits, worst_difference
from niwaki.tracing import trace
from niwaki.units import Axis, Plan

RATIOS = (0.1, 0.3, 0.6)
SEEDS = (0, 1)
TOLERANCE = 1e-5


def cut_equals_masked(
    model: nn.Module,
    inputs: Inputs,
    ratios: Sequence[float] = RATIOS,
    seeds: Sequence[int] = SEEDS,
    *,
    graph: Graph | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Random legal cuts answer as zeros in place of what went do, forward and gradient.

    Held three times, so that no way vouches for itself: entry by entry (masked, cut, and the certificate's own twin
    against the model); by :func:`niwaki.certify`; and by running ``nk.mask`` and ``nk.cut`` side by side. The last
    skips plans that change what a norm averages over; where a model has other groups too, plans of those alone are
    tried.

    Raises:
        LawBroken: a plan breaks the law, or there was nothing to hold it on.
    """
    graph = trace(model, inputs) if graph is None else graph
    tried = 0
    for plan in random_plans(graph, ratios, seeds):
        tried += 1
        with attempting(f"cutting {_named(plan)} from {graph.model_name}"):
            small = cut(model, plan, config=False)
            _same_entries(model, plan, small)
            certificate = room.certify(model, plan, small, inputs, tolerance=tolerance, graph=graph)
            demand(certificate.holds, f"{graph.model_name}, {_named(plan)}: {certificate}")
            if not changes_statistics(graph, plan):
                _same_answers(mask(model, plan), small, plan, inputs, tolerance)
    demand(tried > 0, f"{graph.model_name}: no plan removed anything, so the law was not tried; ask for larger ratios")


def uneven_cuts_equal_masked(
    model: nn.Module,
    inputs: Inputs,
    ratios: Sequence[float] = (0.2, 0.5),
    seeds: Sequence[int] = SEEDS,
    *,
    graph: Graph | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Where all groups compete (``scope="global"``), layers end up with sizes of their own: the cut model runs, and is
    held to its masked twin by :func:`niwaki.certify`.

    Raises:
        LawBroken: a plan leaves a model that does not run, or computes something else.
    """
    graph = trace(model, inputs) if graph is None else graph
    for ratio in ratios:
        for seed in seeds:
            with attempting(f"planning Ratio({ratio}) over all groups of {graph.model_name}"):
                plan = choose(graph, Random(seed), Ratio(ratio, scope="global"))
            with attempting(f"cutting {_named(plan)} from {graph.model_name}"):
                small = cut(model, plan, config=False)
                certificate = room.certify(model, plan, small, inputs, tolerance=tolerance, graph=graph)
                demand(certificate.holds, f"{graph.model_name}, {_named(plan)}: {certificate}")


def dead_units_are_free(
    model: nn.Module,
    inputs: Inputs,
    ratios: Sequence[float] = (0.5,),
    seeds: Sequence[int] = SEEDS,
    *,
    graph: Graph | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Units that are zero already can be cut, and the answers do not move.

    Groups whose units a norm averages over are left out: there a zero is a value like any other.

    Raises:
        LawBroken: the answers move.
    """
    graph = trace(model, inputs) if graph is None else graph
    free = [g.name for g in graph.groups if not g.changes_statistics]
    for plan in _plans(graph, ratios, seeds, free):
        dead = mask(model, plan)
        with attempting(f"cutting the dead units {_named(plan)} from {graph.model_name}"):
            after = answers(cut(dead, plan, config=False), inputs)
        moved = worst_difference(answers(dead, inputs), after)
        demand(
            moved <= tolerance,
            f"{graph.model_name}: cutting units that were zero ({_named(plan)}) moved the answers by {moved:.1e}",
        )


def random_plans(graph: Graph, ratios: Sequence[float] = RATIOS, seeds: Sequence[int] = SEEDS) -> Iterator[Plan]:
    """Legal plans at random that remove something: over all groups, then over those that no norm averages over."""
    names = [g.name for g in graph.groups]
    steady = [g.name for g in graph.groups if not g.changes_statistics]
    yield from _plans(graph, ratios, seeds, names)
    if steady and steady != names:
        yield from _plans(graph, ratios, seeds, steady)


def changes_statistics(graph: Graph, plan: Plan) -> bool:
    """Does the plan remove units that a norm averages over?"""
    return any(graph[name].changes_statistics for name, choice in plan.choices.items() if choice.removed)


def answers(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The floating-point outputs in eval mode, without gradients."""
    args, kwargs = call_arguments(inputs)
    with torch.no_grad(), evaluating(model):
        return [t for t in tensors_of(model(*args, **kwargs), caches=False) if t.is_floating_point()]


def gradients(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Gradients by name of a fixed weighing of the outputs, taken on a copy so that the model keeps its own."""
    twin = duplicate(model).eval()
    for p in twin.parameters():
        p.grad = None
        p.requires_grad_(p.is_floating_point())
    args, kwargs = call_arguments(inputs)
    with torch.enable_grad():
        outputs = [t for t in tensors_of(twin(*args, **kwargs), caches=False) if t.requires_grad]
        if outputs:
            try:
                torch.autograd.backward([_weighed(t) for t in outputs])
            except RuntimeError as trouble:
                if "modified by an inplace operation" not in str(trouble):
                    raise
                return {}  # the model itself cannot be differentiated
    return {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}


def _weighed(output: Tensor) -> Tensor:
    """A sum in which no two entries weigh the same, so that a wrong order shows."""
    weights = torch.linspace(-1.0, 1.0, max(output.numel(), 1), dtype=output.dtype, device=output.device)
    return (output.reshape(-1) * weights.cos()).sum()


def _same_entries(model: nn.Module, plan: Plan, small: nn.Module) -> None:
    """The cut model holds the model's own entries that stay; both masked twins hold those, and zeros elsewhere."""
    cut_down, masked, twin = (_tensors(m) for m in (small, mask(model, plan), room.expand(model, plan, small)))
    for name, value in _tensors(model).items():
        zeroed = _zeroed(model, plan, name, value)
        for who, expected, found in (
            ("nk.cut", _kept(plan, name, value), cut_down[name]),
            ("nk.mask", zeroed, masked[name]),
            ("the certificate's twin", zeroed, twin[name]),
        ):
            demand(same_bits(expected, found), f"{_named(plan)}: {who} holds other entries of {name!r} than it should")


def _zeroed(model: nn.Module, plan: Plan, name: str, value: Tensor) -> Tensor:
    """Zeros where entries go; ones in the directions of weight norm that nothing else zeroes."""
    filled = value.clone()
    ours = [axis for axis in plan.removed if axis.name == name]
    ones = [axis for axis in ours if axis.dim == _normed_dim(model, name)]
    for axis in [*ones, *(axis for axis in ours if axis not in ones)]:
        filled.index_fill_(axis.dim, torch.tensor(plan.removed[axis], device=value.device), int(axis in ones))
    return filled


def _normed_dim(model: nn.Module, name: str) -> int | None:
    """The dimension along which a weight norm takes its norms, if the tensor is its direction."""
    place, _, last = name.rpartition(".")
    holder = model.get_submodule(place)
    if last != "original1" or not isinstance(holder, nn.utils.parametrize.ParametrizationList):
        return None
    return getattr(holder[0], "dim", None)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach() for name, t in [*model.named_parameters(), *model.named_buffers()]}


def _same_answers(masked: nn.Module, small: nn.Module, plan: Plan, inputs: Inputs, tolerance: float) -> None:
    ahead = worst_difference(answers(masked, inputs), answers(small, inputs))
    if ahead > tolerance:
        raise LawBroken(f"{_named(plan)}: nk.cut and nk.mask differ forward by {ahead:.1e}, tolerance {tolerance:.0e}")
    wide, narrow = gradients(masked, inputs), gradients(small, inputs)
    demand(wide.keys() == narrow.keys(), f"{_named(plan)}: other parameters get a gradient after the cut")
    left = [_kept(plan, name, wide[name]) for name in wide]
    back = worst_difference(left, [narrow[name] for name in wide], shared_scale=True)
    if back > tolerance:
        raise LawBroken(f"{_named(plan)}: gradients of nk.cut and nk.mask differ by {back:.1e}")


def _kept(plan: Plan, name: str, value: Tensor) -> Tensor:
    for dim in range(value.dim()):
        if Axis(name, dim) in plan.removed:
            value = value.index_select(dim, torch.tensor(plan.kept(Axis(name, dim)), device=value.device))
    return value


def _plans(graph: Graph, ratios: Sequence[float], seeds: Sequence[int], groups: list[str]) -> Iterator[Plan]:
    if not groups:
        return
    seen: list[Plan] = []
    for ratio in ratios:
        for seed in seeds:
            with attempting(f"planning Ratio({ratio}) at random on {graph.model_name}"):
                plan = choose(graph, Random(seed), Ratio(ratio), groups)
            if plan.removed and all(plan.removed != other.removed for other in seen):
                seen.append(plan)
                yield plan


def _named(plan: Plan) -> str:
    """The plan in a line: what goes, by group."""
    parts = [f"{name} {list(choice.removed)}" for name, choice in plan.choices.items() if choice.removed]
    return "units " + ", ".join(parts)
