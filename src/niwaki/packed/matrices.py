"""Linear layers as matrices of (outputs, inputs), whichever way round they keep their weight."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def is_linear(module: nn.Module) -> bool:
    """Is it a plain ``nn.Linear``, or the ``Conv1D`` of transformers? Not a subclass: that may compute something else,
    or have its weight read by the module around it."""
    return type(module) is nn.Linear or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Does it keep its weight as (inputs, outputs)?"""
    return f"{type(module).__module__}.{type(module).__qualname__}" == "transformers.pytorch_utils.Conv1D"


def matrix(module: nn.Module) -> Tensor:
    """The layer's weight, detached. Shape: (outputs, inputs)."""
    layer: Any = module
    weight: Tensor = layer.weight.detach()
    return weight.t() if is_transposed(module) else weight
