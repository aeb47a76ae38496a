"""Layers that compute something else than their weight and bias say: subclasses with a forward pass of their own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.calibration.batches import Batch
from niwaki.calibration.calls import calm
from niwaki.calibration.takers import CONVOLUTIONS, TRANSPOSED, Taker
from niwaki.graph.observe import tensors_of
from niwaki.ranks import whole

PLAIN = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


def own_forwards(model: nn.Module, batch: Batch) -> set[nn.Module]:
    """The layers of the model that are no plain ones, and on the first batch gave something else than a plain layer of
    the same weights gives. One pass, if there is any layer to try."""
    tried = [module for module in model.modules() if _is_tried(module)]
    odd: set[nn.Module] = set()
    if not tried:
        return odd

    def see(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        hidden = next(tensors_of((args, kwargs)), None)
        if hidden is not None and not _as_plain(module, hidden, output):
            odd.add(module)

    with calm(model), ExitStack() as stack:
        for module in tried:
            stack.callback(module.register_forward_hook(see, with_kwargs=True).remove)
        model(*batch.args, **batch.kwargs)
    return odd


def _is_tried(module: nn.Module) -> bool:
    """Is it a layer that takes units, of a class that says itself what it computes?"""
    plain = next((kind for kind in PLAIN if isinstance(module, kind)), None)
    if plain is None:
        weight = getattr(module, "weight", None)
        return type(module).__name__ == "Conv1D" and isinstance(weight, Tensor) and weight.dim() == 2
    return "forward" in vars(module) or type(module).forward is not plain.forward


def _as_plain(module: Any, hidden: Tensor, output: Any) -> bool:
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(output, Tensor) or not output.is_floating_point() or not isinstance(weight, Tensor):
        return False
    # In double, as the second part of a block is computed: weights may be of another type than what they multiply.
    matrix, shift = whole(weight).double(), whole(bias).double() if isinstance(bias, Tensor) else None
    try:
        expected = Taker("", module, "", torch.zeros(0)).apply(whole(hidden).double(), matrix, shift)
    except (RuntimeError, ValueError, TypeError):
        return False
    if expected.shape != output.shape or not output.numel():
        return expected.shape == output.shape
    tolerance = max(1e-4, 16 * torch.finfo(output.dtype).eps)
    largest = float(expected.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return torch.allclose(expected, output.double(), rtol=tolerance, atol=tolerance * largest, equal_nan=True)


__all__ = ["own_forwards"]
