"""What the laws of training train: a fresh model, inputs to trace it with, and a loss for every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.graph.observe import Inputs, call_arguments, tensors_of
from niwaki.methods import Method
from niwaki.testing.laws.weather import weather
from niwaki.train.engine import Pruning

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Exercise:
    """One model in training. ``loss(model, step)`` must depend on nothing else; it runs under a seed of its own."""

    model: nn.Module
    inputs: Inputs
    loss: Callable[[nn.Module, int], Tensor]


Make = Callable[[], Exercise]
"""Builds the same exercise every time, as a new process would."""


def exercise(build: Callable[[], nn.Module], inputs: Callable[[], Inputs]) -> Make:
    """An exercise for any model: in train mode, its floating-point outputs chase noise that changes with the step."""

    def make() -> Exercise:
        given = inputs()
        args, kwargs = call_arguments(given)

        def loss(model: nn.Module, step: int) -> Tensor:
            outputs = [t for t in tensors_of(model(*args, **kwargs)) if t.requires_grad]
            return torch.stack([(t - torch.randn_like(t)).square().mean() for t in outputs]).sum()

        return Exercise(build().train(), given, loss)

    return make


def momentum(parameters: Iterable[Any]) -> torch.optim.Optimizer:
    """SGD with momentum, of small steps."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


@dataclass(frozen=True)
class Session:
    """An exercise under way with a method."""

    exercise: Exercise
    run: Pruning

    def train(self, start: int, stop: int) -> None:
        """Steps ``start`` up to ``stop`` of the exercise."""
        for step in range(start, stop):
            backward(self.exercise, self.run.optimizer, step)
            self.run.step()


def begin(make: Make, method: Method, optimizer: OptimizerFactory) -> Session:
    """A session at step 0."""
    work = make()
    seen: dict[str, Any] = {}
    if method.needs:  # the inputs serve as data
        seen = {"data": [work.inputs], "loss": lambda model, batch: work.loss(model, 0)}
    return Session(work, Pruning(work.model, optimizer(work.model.parameters()), method, work.inputs, **seen))


def backward(work: Exercise, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Gradients of one step's loss, of length 1 at most: products of products run away, and weights that are no numbers
    would be alike whatever was done. Seeded by the step, so that dropout and the like repeat in a resumed run."""
    with weather(step):
        optimizer.zero_grad()
        loss = work.loss(work.model, step)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(work.model.parameters(), 1.0)


@torch.no_grad()
def scramble(model: nn.Module) -> None:
    """Other weights, so that what is not loaded over them shows."""
    with weather(99):
        for p in model.parameters():
            if p.is_floating_point():
                p.normal_()
