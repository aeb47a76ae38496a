"""Optimizers as trainers hand them out: in wrappers, between gradients that are only summed up, under a scaler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.surgery.joined import Joined, each_of
from niwaki.surgery.optimizer import layers


def innermost(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside the wrappers of Accelerate and Lightning; itself if there are none.

    Raises:
        BadInput: it is none.
    """
    wrapped = optimizer if isinstance(optimizer, torch.optim.Optimizer) else getattr(optimizer, "optimizer", None)
    if not isinstance(wrapped, torch.optim.Optimizer):
        raise BadInput(f"expected an optimizer (of torch.optim), found {type(optimizer).__name__}")
    return layers(wrapped)[-1]


def joined(optimizer: Any) -> Any:
    """Several optimizers of one model as one; one as it is.

    Raises:
        BadInput: a list without any.
    """
    if not isinstance(optimizer, (list, tuple)):
        return optimizer
    if not optimizer:
        raise BadInput("optimizer=[]: give the optimizer that trains the model, or all of them where there are several")
    for each in optimizer:
        innermost(each)  # it is one
    return optimizer[0] if len(optimizer) == 1 else Joined(optimizer)


def accumulating(optimizer: Any) -> bool:
    """Does Accelerate only sum up gradients now, so that a step of this optimizer would do nothing?"""
    states = [getattr(each, "gradient_state", None) for each in each_of(optimizer)]
    return any(state is not None and not state.sync_gradients for state in states)


def unscale_(scaler: Any, optimizer: Any) -> None:
    """Unscale the gradients, if that was not done before (to clip them)."""
    for each in each_of(optimizer):
        try:
            scaler.unscale_(innermost(each))
        except RuntimeError as trouble:
            if "unscale_() has already been called" not in str(trouble):
                raise


def step_(optimizer: Any, scaler: Any) -> None:
    """Let the optimizer step: through the scaler, where it does not know of that itself."""
    several = each_of(optimizer)
    if scaler is not None and len(several) > 1 and scaler is scaler_of(optimizer):
        # Each of Accelerate's would also update the scaler, which forgets then that the others' gradients are unscaled.
        for each in several:
            scaler.step(innermost(each))
        scaler.update()
        return
    for each in several:
        if scaler is None or scaler is scaler_of(each):
            each.step()
        else:
            scaler.step(innermost(each))


def with_closure(optimizer: Any) -> str | None:
    """The name of one that steps with a closure alone, which computes the gradients anew (LBFGS); None if none does."""
    for each in (getattr(wrapper, "optimizer", wrapper) for wrapper in each_of(optimizer)):
        if _needs_closure(type(each).step):
            return type(each).__name__
    return None


@cache
def _needs_closure(step: Callable[..., Any]) -> bool:
    """Looked up once for each class: it is asked in every step."""
    closure = inspect.signature(step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def scaler_of(optimizer: Any) -> Any:
    """The scaler that Accelerate's wrapper steps through; None if there is none."""
    first = each_of(optimizer)[0]
    return getattr(first, "scaler", None) if hasattr(first, "gradient_state") else None


def stand_in(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that holds the model's parameters and moves none, until the real one is there."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


__all__ = ["accumulating", "innermost", "joined", "scaler_of", "stand_in", "step_", "unscale_", "with_closure"]
