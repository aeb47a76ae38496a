"""Do two models answer alike? To rounding, and where rounding is in the way, in a wider type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating
from niwaki.surgery.certify import EXACT, TOLERANCE, Check, answers, compare

HALF = (torch.float16, torch.bfloat16)


def same(
    reference: nn.Module,
    found: nn.Module,
    inputs: Inputs,
    *,
    names: tuple[str, str] = ("packed", "masked"),
    tolerance: float = TOLERANCE,
    detail: str = "",
) -> Check:
    """Compare what two models answer, in eval mode, as their largest difference relative to the largest answer.

    Models of half precision are compared in float32: their own rounding is larger than what is looked for. What does
    not hold in float32 is compared in float64, to a ten-thousandth of the tolerance.
    """

    def compared(kind: torch.dtype | None) -> Check:
        told = [_answers(model, inputs, kind) for model in (reference, found)]
        return compare(*names, "forward", told[0], told[1], tolerance)

    return settled(compared, reference, tolerance, detail)


def settled(
    compared: Callable[[torch.dtype | None], Check], reference: nn.Module, tolerance: float, detail: str = ""
) -> Check:
    """The first comparison that holds, as it is or in a wider type; the one as it is if none does.

    ``compared``: makes the comparison with all numbers in a type; None leaves them as they are."""
    first: Check | None = None
    for kind, share in _kinds(reference):
        try:
            check = replace(compared(kind), tolerance=tolerance * share)
        except (RuntimeError, TypeError):  # a type that is written into the code
            if kind is None:
                raise
            continue
        if first is not None:
            check = replace(check, detail=f"in {_name(kind)}; as it is: {_told(first)}")
        first = first or check
        if check.holds:
            return replace(check, detail="; ".join(filter(None, [detail, check.detail])))
    assert first is not None
    return replace(first, detail="; ".join(filter(None, [detail, first.detail])))


def _kinds(model: nn.Module) -> Iterator[tuple[torch.dtype | None, float]]:
    """In which types to compare (None: as it is), and to what share of the tolerance."""
    yield None, 1.0
    if any(p.dtype in HALF for p in model.parameters()):
        yield torch.float32, 1.0
    yield torch.float64, EXACT


def _answers(model: nn.Module, inputs: Inputs, kind: torch.dtype | None) -> list[Tensor]:
    model, (args, kwargs) = widened(model, inputs, kind)
    with evaluating(model), torch.no_grad():
        return answers(model, args, kwargs)


def widened(model: nn.Module, inputs: Inputs, kind: torch.dtype | None) -> tuple[nn.Module, Any]:
    """The model (a copy) and the arguments of its call in another type; as they are for None."""
    arguments = call_arguments(inputs)
    if kind is None:
        return model, arguments
    wide = duplicate(model)
    # Unlike .to(kind), these leave complex tensors whole.
    wide = wide.float() if kind is torch.float32 else wide.double()
    return wide, tree_map(partial(_to, kind=kind), arguments)


def _to(value: Any, kind: torch.dtype) -> Any:
    return value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() else value


def _name(kind: torch.dtype | None) -> str:
    return str(kind).removeprefix("torch.")


def _told(check: Check) -> str:
    return check.detail if check.worst is None else f"{check.worst:.1e}"


__all__ = ["same", "settled", "widened"]
