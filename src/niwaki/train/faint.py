"""Proximal steps that are too small for the type of the weights: they would change nothing, and nobody would know."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods import Method, Regularize
from niwaki.methods.view import View
from niwaki.penalties import Proximal
from niwaki.ranks import local, shares
from niwaki.train.pressure import matrices

logger = logging.getLogger("niwaki")


@torch.no_grad()
def tell_if_lost(method: Method, view: View, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Log which weights the proximal steps of a method leave as they are, even at the highest learning rate that the
    optimizer tells of.

    Raises:
        BadInput: it tells of none, and there are proximal steps.
    """
    for part in method.body.walk():
        if not isinstance(part, Regularize) or not part.proximal or not part.factor:
            continue
        rates = _rates(optimizer)
        names = [name for name in part.names(view) if rates.get(id(tensors[name]), 0.0) > 0]
        stacks = view.stacks(names)
        lost = [
            name
            for name in names
            if _is_lost(part.penalty, tensors[name], part.factor * rates[id(tensors[name])], name in stacks)
        ]
        if lost:
            rate = rates[id(tensors[lost[0]])]
            logger.warning(
                "%s: proximal steps of %g (alpha %g × learning rate %g) change nothing in %d of %d weights (%s, …): "
                "they are lost in %s. Keep the weights in a finer type, or raise alpha, which in this form is of "
                "another size than as a gradient (in float32 1, 3, 10 at rates around 5e-5).",
                method.name,
                part.factor * rate,
                part.factor,
                rate,
                len(lost),
                len(names),
                lost[0],
                tensors[lost[0]].dtype,
            )


def _rates(optimizer: torch.optim.Optimizer) -> dict[int, float]:
    """Of each parameter, by its identity."""
    found: dict[int, float] = {}
    for group in optimizer.param_groups:
        rate = peak(group)
        if rate is None:
            raise BadInput(
                f"a proximal step is of the learning rate times alpha, and {type(optimizer).__name__} tells none (lr): "
                "give it one, or another optimizer, or set proximal=False"
            )
        found |= {id(p): rate for p in group["params"]}
    return found


def peak(group: Mapping[str, object]) -> float | None:
    """The highest learning rate of a parameter group that can be told before training, where a schedule begins lower;
    None where the optimizer tells of none."""
    told = [group.get(key) for key in ("lr", "initial_lr", "max_lr")]
    return max((float(rate) for rate in told if isinstance(rate, (int, float, Tensor))), default=None)


def _is_lost(penalty: object, weight: Tensor, amount: float, stacked: bool) -> bool:
    """Tried on a copy, which is what it would do. All ranks take part, also one that holds nothing of the weight."""
    if not isinstance(penalty, Proximal) or weight.is_meta:
        return False
    after = weight.detach().clone()
    for each in matrices("a tensor of experts", after) if stacked else (after,):
        penalty.shrink_(each, amount)
    told = torch.stack([local(weight).any(), (local(after) != local(weight)).any()]).long()
    there, moved = shares(weight, "max")(told).tolist()
    return bool(there) and not moved


__all__ = ["peak", "tell_if_lost"]
