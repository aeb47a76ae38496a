"""How the loss answers to a mask on every unit (Michel et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.calibration.batches import Batch
from niwaki.calibration.blocks import Block
from niwaki.calibration.calls import calm, require_gradients
from niwaki.calibration.takers import Taker
from niwaki.errors import BadInput
from niwaki.ranks import Ranks, local

Loss = Callable[[nn.Module, Any], Tensor]
"""Of a model and a batch as the data gave it, to one number with a gradient."""


def sensitivity(
    model: nn.Module,
    blocks: Sequence[Block],
    batches: Iterable[Batch],
    loss: Loss,
    *,
    each: bool,
    ranks: Ranks | None = None,
) -> dict[str, Tensor]:
    """By group, per unit: the absolute gradient of the loss, summed over samples, with respect to a mask of ones on the
    unit's activations. ``loss`` is the mean over a batch, as losses are: each batch counts as often as it has samples.
    ``each``: absolute values batch by batch, then summed. ``ranks``: each has batches of its own; sums are over all.

    Raises:
        BadInput: the loss is no single number with a gradient.
    """
    if not blocks:
        return {}  # a target that takes nothing: there is no mask to have a gradient
    device, ranks = next(local(p).device for p in model.parameters()), ranks or Ranks.alone()
    masks = [torch.ones(len(b.group), device=device, dtype=torch.float32, requires_grad=True) for b in blocks]
    sums = [torch.zeros(len(b.group), dtype=torch.float64) for b in blocks]
    with ranks.every("a look at the loss"), ExitStack() as stack:
        stack.enter_context(calm(model))
        for block, mask in zip(blocks, masks, strict=True):
            for taker in block.takers:
                hook = partial(_masked, taker, mask)
                stack.callback(taker.module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for batch in batches:
            gradients = _gradients(model, loss, batch, masks)
            for total, gradient in zip(sums, gradients, strict=True):
                total += batch.size * (gradient.abs() if each else gradient)
    found = ranks.summed({(block.group.name,): total for block, total in zip(blocks, sums, strict=True)})
    return {block.group.name: found[block.group.name,].abs() for block in blocks}


def _gradients(model: nn.Module, loss: Loss, batch: Batch, masks: Sequence[Tensor]) -> list[Tensor]:
    require_gradients()
    with torch.enable_grad():
        value = loss(model, batch.given)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise BadInput(f"loss must return one number as a tensor with a gradient, not {what}")
        if not bool(value.isfinite()):
            raise BadInput(f"loss gave {value.item()} on a batch: give data and a loss of finite numbers")
        found = torch.autograd.grad(value.reshape(()), masks, allow_unused=True)
    return [torch.zeros(len(m)) if g is None else g.detach().cpu().double() for g, m in zip(found, masks, strict=True)]


def _masked(taker: Taker, mask: Tensor, module: nn.Module, args: Any, kwargs: Any) -> Any:
    """The layer's input, each position times the mask of its unit."""
    unit_of = taker.unit_of.to(mask.device)
    factors = torch.where(unit_of >= 0, mask[unit_of.clamp(min=0)], 1.0)

    def times(hidden: Tensor) -> Tensor:
        return hidden * factors.to(hidden.dtype).reshape(-1, *[1] * taker.space)

    if args:
        return (times(args[0]), *args[1:]), kwargs
    name, hidden = next((k, v) for k, v in kwargs.items() if isinstance(v, Tensor))
    return args, {**kwargs, name: times(hidden)}


__all__ = ["Loss", "sensitivity"]
