"""Optimizers as trainers hand them out: in wrappers, between gradients that are only summed up, under a scaler."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from niwaki.errors import BadInput
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


def accumulating(optimizer: Any) -> bool:
    """Does Accelerate only sum up gradients now, so that a step of this optimizer would do nothing?"""
    gradients = getattr(optimizer, "gradient_state", None)
    return gradients is not None and not gradients.sync_gradients


def unscale_(scaler: Any, optimizer: Any) -> None:
    """Unscale the gradients, if that was not done before (to clip them)."""
    try:
        scaler.unscale_(innermost(optimizer))
    except RuntimeError as trouble:
        if "unscale_() has already been called" not in str(trouble):
            raise


def step_(optimizer: Any, scaler: Any) -> None:
    """Let the optimizer step: through the scaler, where it does not know of that itself."""
    if scaler is None or scaler is scaler_of(optimizer):
        optimizer.step()
    else:
        scaler.step(innermost(optimizer))


def scaler_of(optimizer: Any) -> Any:
    """The scaler that Accelerate's wrapper steps through; None if there is none."""
    return getattr(optimizer, "scaler", None) if hasattr(optimizer, "gradient_state") else None


def stand_in(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that holds the model's parameters and moves none, until the real one is there."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


__all__ = ["accumulating", "innermost", "scaler_of", "stand_in", "step_", "unscale_"]
