"""The certificate: masked = cut = reloaded = exported, with the worst difference of each, written to JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from niwaki.errors import BadInput
from niwaki.export import Dynamic
from niwaki.graph import Graph
from niwaki.graph.copies import apart, duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating, observe
from niwaki.replacing import replacing
from niwaki.surgery.comparing import Check, answers, compare, outputs_of
from niwaki.surgery.cut import shapes_of
from niwaki.surgery.exports import Exported, exported_checks
from niwaki.surgery.masks import expand
from niwaki.surgery.modules import readable
from niwaki.surgery.reduced import Reduced, Reductions, reductions
from niwaki.surgery.slices import select
from niwaki.units import Plan

TOLERANCE = 1e-5
EXACT = 1e-4  # in float64, times that


@dataclass(frozen=True)
class Certificate:
    """All comparisons of one pruned model. ``holds`` only if each does."""

    checks: tuple[Check, ...]
    fingerprint: str
    environment: dict[str, str]

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(c.holds for c in self.checks)

    def to_json(self) -> dict[str, Any]:
        checks = [{**asdict(c), "holds": c.holds} for c in self.checks]
        return {
            "format": "niwaki.certificate",
            "version": 1,
            "holds": self.holds,
            "model": self.fingerprint,
            "checks": checks,
            "environment": dict(self.environment),
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all. Returns the path."""
        path = Path(path)
        with replacing(path) as part:
            part.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        return path

    def __str__(self) -> str:
        head = "The certificate holds:" if self.holds else "THE CERTIFICATE DOES NOT HOLD:"
        return "\n".join([head, *(f"  {_line(c)}" for c in self.checks)])


def certify(
    model: nn.Module,
    plan: Plan,
    small: nn.Module,
    inputs: Inputs,
    *,
    reloaded: nn.Module | None = None,
    exported: Exported = None,
    dynamic: Dynamic = False,
    also: Sequence[Inputs] = (),
    tolerance: float = TOLERANCE,
    graph: Graph | None = None,
) -> Certificate:
    """Compare the cut model with its masked twin, forward and gradient, and with what was saved and exported.

    The twin is ``model`` with ``small``'s weights where they came from and zeros in place of what went, so that a model
    that was trained after the cut is certified as well. Norms, means and softmaxes that run over removed units are
    compared with such as leave those units out. Where rounding alone may keep it from holding, both are compared again
    in float64, to a ten-thousandth of the tolerance; the check says so. Runs in eval mode and leaves all models as they
    were. The weights are ``small``'s own: what is proven is that the small network computes what its dense twin
    computes, not that training left them good (measure that).

    Args:
        model: the dense model that the plan was made for. plan: which units went. small: the cut model.
        inputs: as for :func:`niwaki.trace`.
        reloaded: what :func:`niwaki.load` gave back.
        exported: the path of what :mod:`niwaki.export` wrote, or a callable with the model's arguments; several in a
            mapping from names, as ``{"onnx": path, "openvino": path}``. Each is compared on these inputs, on others of
            another seed, and on ``also``; of a file, the bytes of its weights are compared with the model's.
        dynamic: the sizes that were to vary in the exported files, as for :func:`niwaki.export.onnx`: they are compared
            on inputs of other sizes too.
        also: more inputs that exported models are compared on.
        tolerance: largest relative difference that holds; a reloaded model may differ a tenth of that (kernels may
            choose another order of summation), an exported one ten times.
        graph: of ``model`` on these inputs, if there is one already (it is traced again otherwise).

    Raises:
        StalePlan, BadInput: the plan, the models and the inputs do not belong together.
    """
    _belong(model, plan, small)
    args, kwargs = call_arguments(inputs)
    twin = expand(model, plan, small)
    with readable(model):
        over = reductions(graph or Graph(observe(model, inputs), model), plan)
    twins = _Twins(twin, small, plan, over, args, kwargs, tolerance)
    checks = list(_twin_checks(twins))
    if any(check.worst is not None and not check.holds for check in checks):
        checks = _again_in_float64(checks, twins)
    with torch.no_grad(), evaluating(small):
        reference = answers(small, args, kwargs)
        if reloaded is not None:
            with evaluating(reloaded):
                again = answers(reloaded, args, kwargs)
            checks.append(compare("reloaded", "cut", "forward", reference, again, tolerance / 10))
    checks += exported_checks("cut", small, exported, inputs, dynamic=dynamic, also=also, tolerance=10 * tolerance)
    return Certificate(tuple(checks), plan.fingerprint, environment())


def environment() -> dict[str, str]:
    """Where the comparisons were made."""
    return {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}


def _belong(model: nn.Module, plan: Plan, small: nn.Module) -> None:
    plan.check(shapes_of(model))
    found = shapes_of(small)
    for name in plan.tensors:
        if found.get(name) != plan.shape(name):
            raise BadInput(
                f"the cut model does not come from this plan: {name!r} should have shape {plan.shape(name)}, "
                f"found {found.get(name, 'no such tensor')}"
            )


@dataclass(frozen=True, eq=False)
class _Twins:
    """The masked twin and the cut model, on what they are compared, and how much they may differ.

    Attributes:
        over: the calls that leave out what ``plan`` removes. args, kwargs: of both models.
    """

    masked: nn.Module
    cut: nn.Module
    plan: Plan
    over: Reductions
    args: Any
    kwargs: Any
    tolerance: float

    def in_float64(self) -> _Twins:
        """Copies of everything, held to a much smaller tolerance."""
        exact = partial(tree_map, lambda t: t.double() if isinstance(t, Tensor) and t.is_floating_point() else t)
        return replace(
            self,
            masked=duplicate(self.masked).double(),
            cut=duplicate(self.cut).double(),
            args=exact(self.args),
            kwargs=exact(self.kwargs),
            tolerance=self.tolerance * EXACT,
        )


def _twin_checks(twins: _Twins) -> Iterator[Check]:
    with readable(twins.masked), Reduced(twins.over) as reduced:
        masked, masked_grads = forward_and_gradient(twins.masked, twins.args, twins.kwargs)
    cut, cut_grads = forward_and_gradient(duplicate(twins.cut), twins.args, twins.kwargs)
    note = "norms and means over removed units leave them out" if twins.over else ""
    if reduced.missed:
        yield Check("cut", "masked", "forward", None, twins.tolerance, f"not comparable: {reduced.missed}")
        return
    yield compare("cut", "masked", "forward", masked, cut, twins.tolerance, note)
    if not masked_grads:
        return
    if not cut_grads:
        yield Check("cut", "masked", "gradient", None, twins.tolerance, "not comparable: it has no gradient")
        return
    left = [_kept(twins.plan, name, g) for name, g in masked_grads.items()]
    right = [cut_grads[name] for name in masked_grads]
    yield compare("cut", "masked", "gradient", left, right, twins.tolerance, note)


def _again_in_float64(checks: list[Check], twins: _Twins) -> list[Check]:
    """What does not hold may be rounding, which a deep network, or a ReLU that is almost at zero, can blow up. With
    everything in float64 rounding is a billionth of what it was, and a wrong cut as wrong as before. The checks as they
    were if they do not hold there either, or if the model cannot compute so."""
    try:
        again = list(_twin_checks(twins.in_float64()))
    except (RuntimeError, TypeError):  # a type that is written into the code
        return checks
    if not all(check.holds for check in again):
        return checks
    return [
        replace(new, detail="; ".join([*filter(None, [new.detail]), f"in float64; as it is: {old.worst:.1e}"]))
        for new, old in zip(again, checks, strict=True)
    ]


def forward_and_gradient(model: nn.Module, args: Any, kwargs: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs, and gradients by name of a fixed random projection of them (none where the model has none to give).
    The model may keep what it computed."""
    before = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    args, kwargs = tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, apart((args, kwargs)))
    with evaluating(model), torch.enable_grad():
        for p in model.parameters():
            p.grad = None
            p.requires_grad_(p.is_floating_point())
        outputs = outputs_of(model(*args, **kwargs))
        loss = _project([t for t in outputs if t.requires_grad and t.is_floating_point()])
        gradients: dict[str, Tensor] = {}
        if loss is not None and _differentiates(loss):
            gradients = {n: p.grad.detach() for n, p in model.named_parameters() if p.grad is not None}
        for name, p in model.named_parameters():
            p.grad = None
            p.requires_grad_(before[name][0])
            p.grad = before[name][1]
    return [t.detach() for t in outputs], gradients


def _differentiates(loss: Tensor) -> bool:
    """Take the gradient; False if the model writes over what its backward pass needs, as some recurrent ones do."""
    try:
        loss.backward()
    except RuntimeError as trouble:
        if "modified by an inplace operation" not in str(trouble):
            raise
        return False
    return True


def _project(outputs: Sequence[Tensor]) -> Tensor | None:
    """A fixed random linear form of the outputs, so that every gradient matters."""
    generator = torch.Generator().manual_seed(0)
    terms = [(t * torch.randn(t.shape, generator=generator).to(t)).sum() for t in outputs]
    return torch.stack(terms).sum() if terms else None


def _kept(plan: Plan, name: str, gradient: Tensor) -> Tensor:
    return select(gradient, {axis.dim: gone for axis, gone in plan.removed.items() if axis.name == name})


def _line(check: Check) -> str:
    worst = "not comparable" if check.worst is None else f"worst relative difference {check.worst:.1e}"
    state = "equals" if check.holds else "DIFFERS FROM"
    detail = f"; {check.detail}" if check.detail else ""
    return f"{check.name} {state} {check.against} ({check.kind}): {worst}, tolerance {check.tolerance:.0e}{detail}"


__all__ = ["Certificate", "Check", "answers", "certify", "compare", "environment", "forward_and_gradient"]
