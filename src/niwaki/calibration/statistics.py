"""Statistics of batch norms, measured again on data: after units are gone, inputs have other means and variances."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.calibration.batches import Batch
from niwaki.calibration.calls import BATCH_NORMS, calm
from niwaki.errors import BadInput
from niwaki.ranks import Ranks


def reestimate(model: nn.Module, batches: Iterable[Batch], ranks: Ranks | None = None) -> int:
    """Set the running means and variances of all batch norms to the averages over these batches, each call of a norm by
    how many values of a channel it saw. Give how many norms there are.

    All are measured on the same pass, each batch norm acting on the statistics of the batch, as in training. A batch of
    one sample is left out where a norm would see one value of a channel: that has no variance. ``ranks``: each has
    batches of its own, and the averages are over all.

    Raises:
        BadInput: all batches are such.
    """
    norms: list[Any] = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.running_mean is not None]
    if not norms:
        return 0
    before = [(m.momentum, [(t, t.clone()) for t in _kept(m)]) for m in norms]
    sums, used, ranks = _Sums(), 0, ranks or Ranks.alone()
    try:
        with ranks.every("measuring batch norms"), calm(model), ExitStack() as stack:
            for m in norms:
                m.training, m.momentum = True, 1.0  # the running values are then those of the last call
                stack.callback(m.register_forward_hook(sums.see).remove)
            for batch in batches:
                used += sums.take(_runs(model, batch))
    finally:
        for m, (momentum, values) in zip(norms, before, strict=True):
            m.momentum = momentum
            for tensor, value in values:
                tensor.copy_(value)
    totals = ranks.summed(
        {("used",): torch.tensor(used), **{(k,): sums.total[id(m)] for k, m in enumerate(norms) if id(m) in sums.total}}
    )
    if not int(totals.pop(("used",))):
        raise BadInput("batch norms cannot be measured on batches of one value per channel: give larger batches")
    for (k,), total in totals.items():
        _put(norms[k], total)
    return len(norms)


def _kept(norm: Any) -> list[Tensor]:
    """What a norm keeps: also how many batches it was trained on, by which one without momentum weighs the next."""
    kept = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    return [tensor for tensor in kept if tensor is not None]


@dataclass(eq=False)
class _Sums:
    """Of every norm: how many values of a channel were seen, and mean and variance times that; those of the batch that
    is running stand apart, until it is known that it ran to its end."""

    total: dict[int, Tensor] = field(default_factory=dict)
    running: dict[int, Tensor] = field(default_factory=dict)

    def see(self, norm: Any, args: Any, output: Tensor) -> None:
        """A call is over."""
        count = output.numel() // norm.num_features
        told = torch.stack([torch.ones_like(norm.running_mean), norm.running_mean, norm.running_var]).double() * count
        self.running[id(norm)] = self.running.get(id(norm), 0) + told

    def take(self, whole: bool) -> int:
        """The batch is over: its sums count if it is whole. Gives how many batches that are."""
        for norm, told in self.running.items() if whole else ():
            self.total[norm] = self.total.get(norm, 0) + told
        self.running.clear()
        return int(whole)


@torch.no_grad()
def _put(norm: Any, total: Tensor) -> None:
    """The averages, into a norm; one that was never called has none, and is left as it is."""
    count, mean, variance = total
    norm.running_mean.copy_(mean / count)
    norm.running_var.copy_(variance / count)


def _runs(model: nn.Module, batch: Batch) -> bool:
    """Run the model; false where the batch is too small for a norm."""
    try:
        model(*batch.args, **batch.kwargs)
    except ValueError as error:
        if batch.size > 1 or "more than 1 value per channel" not in str(error):
            raise
        return False
    return True


__all__ = ["reestimate"]
