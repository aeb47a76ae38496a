"""Statistics of batch norms, measured again on data: after units are gone, inputs have other means and variances."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from niwaki.calibration.batches import Batch
from niwaki.calibration.calls import BATCH_NORMS, calm


def reestimate(model: nn.Module, batches: Iterable[Batch]) -> int:
    """Set the running means and variances of all batch norms to the averages over these batches, each batch by its
    number of samples. Give how many there are.

    All are measured on the same pass, each batch norm acting on the statistics of the batch, as in training.
    """
    norms = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.running_mean is not None]
    if not norms:
        return 0
    sums: dict[int, tuple[Tensor, Tensor]] = {}
    momenta = [m.momentum for m in norms]
    samples = 0
    with calm(model):
        try:
            for m in norms:
                m.training, m.momentum = True, 1.0  # the running values are then those of the last batch
            for batch in batches:
                model(*batch.args, **batch.kwargs)
                samples += batch.size
                for m in norms:
                    assert m.running_mean is not None
                    assert m.running_var is not None
                    now = (m.running_mean.double() * batch.size, m.running_var.double() * batch.size)
                    old = sums.get(id(m), (torch.zeros_like(now[0]), torch.zeros_like(now[1])))
                    sums[id(m)] = (old[0] + now[0], old[1] + now[1])
        finally:
            for m, momentum in zip(norms, momenta, strict=True):
                m.momentum = momentum
        for m in norms:
            assert m.running_mean is not None
            assert m.running_var is not None
            m.running_mean.copy_(sums[id(m)][0] / samples)
            m.running_var.copy_(sums[id(m)][1] / samples)
    return len(norms)


__all__ = ["reestimate"]
