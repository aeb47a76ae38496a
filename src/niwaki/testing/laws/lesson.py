"""What every trainer is given: one exercise, one optimizer, one method, and how to train."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._pytree import tree_map

from niwaki.methods import Method
from niwaki.testing.laws.exercise import Exercise, OptimizerFactory, momentum
from niwaki.testing.laws.weather import weather
from niwaki.train.engine import Pruning


@dataclass(frozen=True)
class Circumstances:
    """How is trained.

    ``accumulate``: batches to a step. ``clip``: the norm that the gradient is clipped to; 0: not at all. ``bfloat16``:
    under autocast. ``scaled``: losses are scaled, as float16 needs it, and the first step overflows. ``scheduled``: the
    learning rate falls every other step. ``averaged``: beside a moving average. ``compiled``: the model is.
    """

    optimizer: OptimizerFactory = momentum
    accumulate: int = 1
    clip: float = 0.0
    bfloat16: bool = False
    scaled: bool = False
    scheduled: bool = False
    averaged: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        named = [f"{name}={value}" for name, value in vars(self).items() if value and name != "optimizer"]
        return ", ".join(named)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def scaler(self) -> torch.amp.GradScaler | None:
        """Its first scale is too large, and its second fits; both are powers of two, which round nothing."""
        return torch.amp.GradScaler("cpu", 2.0**127, backoff_factor=2.0**-100) if self.scaled else None


@dataclass(frozen=True)
class Outcome:
    """All that a trainer leaves."""

    model: dict[str, Any]
    average: dict[str, Any]
    optimizer: dict[str, Any]
    run: dict[str, Any]


class Lesson:
    """One exercise that a trainer goes through once. ``run`` is there when the driver has begun."""

    def __init__(self, work: Exercise, method: Method, steps: int, asked: Circumstances) -> None:
        self.work, self.method, self.steps, self.asked = work, method, steps, asked
        self.model, self.inputs = work.model, work.inputs
        self.optimizer = asked.optimizer(work.model.parameters())
        self.scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
        if asked.scheduled:
            self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, 0.5)
        average = partial(AveragedModel, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=False)
        self.ema: AveragedModel | None = average(work.model) if asked.averaged else None
        if asked.compiled:
            work.model.compile(backend="eager")
        self.run: Pruning | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What every way of pruning is given beside method and inputs."""
        return {"ema": self.ema}

    def begin(self, model: nn.Module | None = None, optimizer: Any = None) -> Pruning:
        """A run on the model and its optimizer, as they come out of a trainer's hands."""
        model, optimizer = model or self.model, self.optimizer if optimizer is None else optimizer
        self.run = Pruning(model, optimizer, self.method, self.inputs, **self.options)
        return self.run

    def loss(self, part: int, model: nn.Module | None = None) -> Tensor:
        """Of one batch, counted through. What the model gives is made single precision before the loss sees it."""
        with weather(part):
            loss = self.work.loss(_in_single(model or self.model), part)
        return loss * 2.0**60 if self.asked.scaled and part == 0 else loss  # too large for the scale, surely

    def clip(self) -> None:
        if self.asked.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.asked.clip)

    def after_step(self) -> None:
        """What comes after the optimizer's step, in a loop of one's own."""
        if self.scheduler is not None:
            self.scheduler.step()
        self.average()

    def average(self) -> None:
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def outcome(self) -> Outcome:
        assert self.run is not None
        ema = {} if self.ema is None else self.ema.state_dict()
        optimizer = self.optimizer.state_dict()
        for group in optimizer["param_groups"]:
            group.pop("initial_lr", None)  # some trainers want a scheduler in any case, which writes this
        return Outcome(self.model.state_dict(), dict(ema), optimizer, self.run.state_dict())


Driver = Callable[[Lesson], None]


def _in_single(model: nn.Module) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return tree_map(_single, model(*args, **kwargs))

    return call


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


__all__ = ["Circumstances", "Driver", "Lesson", "Outcome"]
