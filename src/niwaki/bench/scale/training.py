"""A network in training, under DistributedDataParallel or fully_shard, as it comes or under a method."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from niwaki.bench.scale.subjects import Subject
from niwaki.methods import Method
from niwaki.train.engine import Pruning

WRAPS = ("ddp", "fsdp2")


def wrapped(model: nn.Module, subject: Subject, wrap: str) -> nn.Module:
    """The network, dealt out as users do it."""
    if wrap == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    for part in [*subject.parts(model), model]:
        fully_shard(part)  # in place
    return model


@dataclass(frozen=True)
class Spent:
    """Seconds of a step, of that what comes after the backward pass, and the loss before it."""

    whole: float
    after: float
    loss: float


class Training:
    """One model, its optimizer, and what is called where a plain loop calls ``optimizer.step``."""

    def __init__(self, subject: Subject, wrap: str, method: Method | None, lr: float) -> None:
        self.subject = subject
        self.model = wrapped(subject.build(), subject, wrap)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9)
        self.pruning = None if method is None else Pruning(self.model, self.optimizer, method, subject.inputs())

    def step(self, batch: Tensor) -> Spent:
        """One step on this process's examples."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self.subject.loss(self.model, batch)
        loss.backward()
        middle = time.perf_counter()
        (self.optimizer if self.pruning is None else self.pruning).step()
        end = time.perf_counter()
        return Spent(end - start, end - middle, float(loss.detach()))


__all__ = ["WRAPS", "Spent", "Training", "wrapped"]
