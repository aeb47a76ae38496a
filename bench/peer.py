"""Torch-Pruning on the families, cut and judged: with the settings of `niwaki.bench.torch_pruning`.

Where the model does not answer as it should with the attention modules' numbers set, its configuration's are set as
well (whichever is better counts).
"""

from __future__ import annotations

import copy
import importlib.metadata
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from forked import Memory, told
from masked import TOLERANCE, CannotSay, Removed, difference, removed_between, tag
from torch import nn

from niwaki.bench.torch_pruning import NAME, VERSION, configure, prune, pruner
from niwaki.graph import Graph
from niwaki.graph.observe import call_arguments
from niwaki.testing.families import Family

EQUAL, WRONG, CRASH, NOTHING, UNKNOWN = "equal", "wrong", "crash", "no-op", "not judged"
WORST_FIRST = (CRASH, WRONG, UNKNOWN, EQUAL, NOTHING)


def require() -> None:
    """Say how to get it, if it is not there."""
    try:
        found = importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(
            f"the comparison needs {NAME}: pip install --no-deps {NAME}=={VERSION}; or --no-peer"
        ) from None
    if found != VERSION:
        raise SystemExit(f"the comparison is written for {NAME} {VERSION}, found {found}")


def measure(family: Family, ratios: tuple[float, ...], graph: Graph | None) -> Iterator[dict[str, Any]]:
    """What it does with a family: cost of its trace, then a cut at each ratio, judged."""
    warnings.simplefilter("ignore")
    memory = Memory()
    seconds = [_traced(family) for _ in range(1)]
    peak = memory.growth()
    seconds += [_traced(family) for _ in range(2)]
    yield {"trace_s": statistics.median(seconds), "memory_mib": peak, "groups": _group_count(family), "cuts": []}
    cuts = []
    for ratio in ratios:
        cuts.append({"ratio": ratio, **_cut(family, ratio, graph)})
        yield {"cuts": cuts}


def _traced(family: Family) -> float:
    model, inputs = family.build(), family.inputs()
    start = time.perf_counter()
    pruner(model, inputs, 0.3)
    return time.perf_counter() - start


def _group_count(family: Family) -> int:
    made = pruner(family.build(), family.inputs(), 0.3)
    groups = made.DG.get_all_groups(ignored_layers=made.ignored_layers, root_module_types=made.root_module_types)
    return sum(1 for _ in groups)


def _cut(family: Family, ratio: float, graph: Graph | None) -> dict[str, Any]:
    """Cut at a ratio, and what became of it."""
    dense, small, inputs = family.build(), family.build(), family.inputs()
    try:
        tag(small)
        prune(small, inputs, ratio)
    except CannotSay as trouble:
        return {"verdict": UNKNOWN, "detail": str(trouble)}
    except Exception as trouble:
        return {"verdict": CRASH, "detail": f"while it cuts: {told(trouble)}"}
    if _shapes(dense) == _shapes(small):
        return {"verdict": NOTHING, "detail": "no tensor became smaller"}
    try:
        removed = removed_between(dense, small)
    except CannotSay as trouble:
        return {"verdict": _runs(small, inputs), "detail": f"the oracle cannot say: {trouble}"}
    return {**_judge(dense, small, removed, inputs, graph), **_reach(dense, removed, graph)}


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in model.state_dict().items()}


def _runs(small: nn.Module, inputs: Any) -> str:
    args, kwargs = call_arguments(inputs)
    try:
        with torch.no_grad():
            small(*args, **kwargs)
    except Exception:
        return CRASH
    return UNKNOWN


def _judge(dense: nn.Module, small: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> dict[str, Any]:
    """The better verdict of two: with the attention modules' numbers set, and with the configuration's too."""
    first = _compare(dense, small, removed, inputs, graph)
    if first["verdict"] == EQUAL or not hasattr(small, "config"):
        return first
    second = copy.deepcopy(small)
    configure(second)
    then = _compare(dense, second, removed, inputs, graph)
    return max(first, then, key=lambda found: WORST_FIRST.index(found["verdict"]))


def _compare(dense: nn.Module, small: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> dict[str, Any]:
    try:
        worst = difference(dense, small, removed, inputs, graph)
    except CannotSay as trouble:
        return {"verdict": UNKNOWN, "detail": str(trouble)}
    except Exception as trouble:
        return {"verdict": CRASH, "detail": f"in the forward pass after the cut: {told(trouble)}"}
    if worst == float("inf"):
        return {"verdict": WRONG, "detail": "other shapes or values that are not finite came out"}
    return {"verdict": EQUAL if worst <= TOLERANCE else WRONG, "worst": worst}


def _reach(dense: nn.Module, removed: Removed, graph: Graph | None) -> dict[str, Any]:
    """The share of parameters in tensors that it made smaller, and of multiply-adds by them."""
    total = sum(p.numel() for p in dense.parameters())
    names = {axis.name for axis in removed}
    reached = sum(p.numel() for n, p in dense.named_parameters() if n in names)
    found: dict[str, Any] = {"reach_params": reached / total}
    if graph is not None:
        gone = graph.atoms_gone(removed)
        macs = [(cost.scale * _product(cost.axes), any(gone[ids].any() for ids in cost.axes)) for cost in _costs(graph)]
        found["reach_macs"] = sum(m for m, hit in macs if hit) / (sum(m for m, _ in macs) or 1)
    return found


def _costs(graph: Graph) -> Any:
    return graph.ledger.costs


def _product(axes: Any) -> int:
    count = 1
    for ids in axes:
        count *= ids.size
    return count
