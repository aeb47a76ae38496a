"""The certificate of a packed model: packed = masked (= reloaded = exported)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.export import Dynamic
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating
from niwaki.packed import PackedLinear, packing_of
from niwaki.packing.baking import bake
from niwaki.packing.sameness import same, settled, widened
from niwaki.surgery.certify import (
    TOLERANCE,
    Certificate,
    Check,
    answers,
    compare,
    environment,
    forward_and_gradient,
)
from niwaki.surgery.cut import plan_of
from niwaki.surgery.exports import Exported, exported_checks
from niwaki.units import Plan
from niwaki.wrappers import bare


def certify_packed(
    masked: nn.Module,
    packed: nn.Module,
    inputs: Inputs,
    *,
    more: Sequence[Inputs] = (),
    reloaded: nn.Module | None = None,
    exported: Exported = None,
    dynamic: Dynamic = False,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Compare a packed model with the masked one that it was made of, and with what was saved and exported.

    Answers are compared on ``inputs`` and on each of ``more``; gradients of all that the packed model holds, of a fixed
    random projection of the answers, on ``inputs``. Half precision is compared in float32; what does not hold in
    float32 for rounding alone is compared in float64, to a ten-thousandth of the tolerance. All models run in eval mode
    and stay as they were.

    Args:
        masked: what :func:`niwaki.pack` was given. packed: what it gave back.
        inputs: as for :func:`niwaki.trace`. more: further inputs: of other seeds, other batch sizes.
        reloaded: what :func:`niwaki.load` gave back.
        exported, dynamic: what was exported of ``packed``, and which sizes were to vary, as for :func:`certify`; also
            compared on ``more``.
        tolerance: largest difference relative to the largest answer that holds; an exported model may differ ten times
            that, a reloaded one a tenth.

    Raises:
        BadInput: ``packed`` was not packed by niwaki, or not from a model of these tensors.
    """
    masked, packed = bare(masked), bare(packed)
    plan = _plan(packed)
    checks = [same(masked, packed, inputs, tolerance=tolerance)]
    checks += [same(masked, packed, x, tolerance=tolerance, detail=f"more[{k}]") for k, x in enumerate(more)]
    checks += _gradient(masked, packed, plan, inputs, tolerance)
    args, kwargs = call_arguments(inputs)
    with torch.no_grad(), evaluating(packed):
        reference = answers(packed, args, kwargs)
    if reloaded is not None:
        with torch.no_grad(), evaluating(reloaded):
            again = answers(reloaded, args, kwargs)
        checks.append(compare("reloaded", "packed", "forward", reference, again, tolerance / 10))
    also = exported_checks("packed", packed, exported, inputs, dynamic=dynamic, also=more, tolerance=10 * tolerance)
    return Certificate((*checks, *also), plan.fingerprint, environment())


def _plan(packed: nn.Module) -> Plan:
    plan = plan_of(packed)
    if plan is None or packing_of(packed) is None:
        raise BadInput(f"{type(packed).__name__} was not packed by niwaki: give what nk.pack gave back, or nk.load")
    return plan


def _gradient(masked: nn.Module, packed: nn.Module, plan: Plan, inputs: Inputs, tolerance: float) -> Iterator[Check]:
    """One check, if the model has gradients to give."""
    twin = duplicate(masked)
    bake(twin)
    earlier = plan_of(masked)

    def compared(kind: torch.dtype | None) -> Check:
        dense, found = (_gradients(model, inputs, kind) for model in (twin, packed))
        wanted = _held(packed, {name: _left(g, name, plan, earlier) for name, g in dense.items()})
        named = dict(packed.named_parameters())
        left, right = ([g.get(n, torch.zeros_like(p)) for n, p in named.items()] for g in (wanted, found))
        return compare("packed", "masked", "gradient", left, right, tolerance)

    if _gradients(twin, inputs, None):
        yield settled(compared, masked, tolerance)


def _gradients(model: nn.Module, inputs: Inputs, kind: torch.dtype | None) -> dict[str, Tensor]:
    wide, (args, kwargs) = widened(model, inputs, kind)
    return forward_and_gradient(duplicate(model) if wide is model else wide, args, kwargs)[1]


def _left(gradient: Tensor, name: str, plan: Plan, earlier: Plan | None) -> Tensor:
    """What packing left of a tensor, of which some may have been cut before."""
    for axis, gone in plan.removed.items():
        if axis.name == name:
            here = earlier.kept(axis) if earlier is not None else range(plan.tensors[name][axis.dim])
            lost = set(gone)
            kept = [k for k, index in enumerate(here) if index not in lost]
            gradient = gradient.index_select(axis.dim, torch.tensor(kept, device=gradient.device))
    return gradient


def _held(packed: nn.Module, left: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the dense layers' names as the packed layers hold them."""
    found = dict(left)
    for path, layer in packed.named_modules():
        weight = found.pop(f"{path}.weight", None) if isinstance(layer, PackedLinear) else None
        if isinstance(layer, PackedLinear) and weight is not None:
            matrix = weight.t() if layer.sizes.transposed else weight
            found |= {f"{path}.{name}": part for name, part in layer.parts_of(matrix).items()}
    return found


__all__ = ["certify_packed"]
