"""One network held to "no crash, no difference"."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from niwaki.errors import NothingToPrune
from niwaki.graph import Graph
from niwaki.surgery.cut import cut
from niwaki.surgery.masks import mask
from niwaki.testing.fuzz.build import Specimen, build
from niwaki.testing.fuzz.genome import Genome
from niwaki.testing.laws.sameness import answers, cut_equals_masked, gradients, random_plans
from niwaki.testing.laws.verdict import LawBroken, demand, worst_difference
from niwaki.tracing import trace
from niwaki.units import Plan

RATIOS = (0.3, 0.6)
HOLDS, NOTHING, UNFIT, DIFFERS, CRASHES = "holds", "nothing_to_prune", "unfit", "differs", "crashes"
FLAT = 1e-7
"""Gradients below this are rounding, as behind two norms in a row: nothing can be compared with them."""
FAULTS = (DIFFERS, CRASHES)


@dataclass(frozen=True)
class Outcome:
    """What became of one genome. ``kind``: faults of one kind are likely the same fault. ``unfit``: the dense network
    does not run by itself, so that it says nothing."""

    genome: str
    status: str
    kind: str = ""
    detail: str = ""
    used: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    coverage: float = 0.0
    groups: int = 0
    seconds: float = 0.0

    @property
    def fault(self) -> bool:
        return self.status in FAULTS

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Roll(TorchDispatchMode):
    """Writes down which operations pass."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def attempt(genome: Genome) -> Outcome:
    """Build, trace, plan, cut, compare, and read the plan back from disk."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd networks are what is wanted
        outcome = _attempt(genome)
    return replace(outcome, seconds=round(time.perf_counter() - start, 4))


def _attempt(genome: Genome) -> Outcome:
    blank = Outcome(str(genome), UNFIT)
    try:
        specimen = build(genome)
        roll = Roll()
        with roll, torch.inference_mode():
            specimen.model(specimen.inputs)
        sound = _sound(specimen)
    except Exception as trouble:  # whatever it is, it is ours and not the tracer's
        return replace(blank, kind="build", detail=_last_line(trouble))
    seen = replace(blank, used=specimen.used, ops=tuple(sorted(roll.names)))
    if not sound:
        return replace(seen, kind="not finite, or flat")
    return judge(specimen, seen)


def _sound(specimen: Specimen) -> bool:
    """Are the dense network's answers and gradients finite, and do the answers depend on the weights at all?"""
    slopes = list(gradients(specimen.model, specimen.inputs).values())
    found = [*answers(specimen.model, specimen.inputs), *slopes]
    finite = all(bool(t.isfinite().all()) for t in found)
    return finite and max((float(t.abs().max()) for t in slopes if t.numel()), default=0.0) > FLAT


def judge(specimen: Specimen, seen: Outcome) -> Outcome:
    """Hold a network that runs to the law."""
    model, inputs = specimen.model, specimen.inputs
    try:
        graph = trace(model, inputs)
    except NothingToPrune:
        return replace(seen, status=NOTHING)
    except Exception as trouble:
        return _crash(seen, "trace", trouble)
    seen = replace(seen, coverage=round(graph.coverage.params, 4), groups=len(graph.groups))
    outcome = _held(seen, lambda: _laws(graph, model, inputs))
    if outcome.status == DIFFERS and _flat_after(graph, model, inputs):
        return replace(outcome, status=UNFIT, kind="flat after a cut")
    return outcome


def _flat_after(graph: Graph, model: nn.Module, inputs: Tensor) -> bool:
    """Do the answers agree, and is all that differs the rounding of gradients that have vanished?"""
    for plan in random_plans(graph, RATIOS, (0,)):
        masked, small = mask(model, plan), cut(model, plan)
        if worst_difference(answers(masked, inputs), answers(small, inputs)) > FLAT:
            return False
        if max(float(t.abs().max()) for t in gradients(small, inputs).values() if t.numel()) < FLAT:
            return True
    return False


def _laws(graph: Graph, model: nn.Module, inputs: Tensor) -> None:
    cut_equals_masked(model, inputs, RATIOS, (0,), graph=graph)
    plan = next(iter(random_plans(graph, RATIOS[-1:], (1,))), None)
    if plan is not None:
        plan_comes_back(model, inputs, plan)


def plan_comes_back(model: nn.Module, inputs: Tensor, plan: Plan) -> None:
    """A plan that was written and read is the same and cuts the same.

    Raises:
        LawBroken: it is not, or does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        read = Plan.load(plan.save(Path(folder) / "plan.json"))
    demand(read == plan, "the plan read from disk is not the plan that was written")
    moved = worst_difference(answers(cut(model, plan), inputs), answers(cut(model, read), inputs))
    demand(moved == 0.0, f"cut by the plan read from disk, the answers differ by {moved:.1e}")


def _held(seen: Outcome, law: Callable[[], None]) -> Outcome:
    try:
        law()
    except LawBroken as broken:
        if broken.__cause__ is None:
            return replace(seen, status=DIFFERS, kind="differs", detail=str(broken))
        return _crash(seen, "cut", broken.__cause__)
    except Exception as trouble:
        return _crash(seen, "law", trouble)
    return replace(seen, status=HOLDS)


def _crash(seen: Outcome, stage: str, trouble: BaseException) -> Outcome:
    return replace(
        seen, status=CRASHES, kind=f"{stage} {type(trouble).__name__} {_place(trouble)}", detail=_last_line(trouble)
    )


def _last_line(trouble: BaseException) -> str:
    return f"{type(trouble).__name__}: {trouble} [{_place(trouble)}]"


def _place(trouble: BaseException) -> str:
    """The innermost frame of the package under test that the error came through."""
    inner, frame = "", trouble.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        path = Path(code.co_filename)
        if "niwaki" in path.parts and "fuzz" not in path.parts:
            inner = f"{path.parent.name}/{path.name}:{code.co_name}"
        frame = frame.tb_next
    return inner
