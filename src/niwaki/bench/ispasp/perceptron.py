"""A network of two layers on MNIST, trained so that a killed run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.bench.ispasp.settings import Schedule
from niwaki.errors import BrokenFile
from niwaki.recipes.rates import rate
from niwaki.replacing import made, replacing
from niwaki.vision.mnist import CLASSES, Digits, normalise

Tick = Callable[[str], None]
"""Called after every epoch, with a word on how it goes."""


class Perceptron(nn.Module):
    """``W1 relu(W0 x)``, as the paper writes it (section 2): no biases. PyTorch's own initial weights.

    Args:
        first: W0, units x pixels. second: W1, classes x units.
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(first.clone()), nn.Parameter(second.clone())

    @classmethod
    def fresh(cls, pixels: int, width: int, seed: int) -> Perceptron:
        """New weights, uniform within one over the square root of the fan-in."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.empty(width, pixels).uniform_(-1, 1, generator=generator) / pixels**0.5
        second = torch.empty(CLASSES, width).uniform_(-1, 1, generator=generator) / width**0.5
        return cls(first, second)

    def forward(self, x: Tensor) -> Tensor:
        """x: N x pixels, normalised. Returns N x classes."""
        return self.hidden(x) @ self.second.T

    def hidden(self, x: Tensor) -> Tensor:
        """The activations of the units, N x units."""
        return torch.relu(x @ self.first.T)


@torch.no_grad()
def accuracy(model: Perceptron, digits: Digits, size: int = 1000) -> float:
    """Share of the test images that are named right, 0 to 1, in float32."""
    right = 0
    for pixels, labels in zip(digits.test.split(size), digits.test_labels.split(size), strict=True):
        right += int((model(normalise(pixels)).argmax(1) == labels).sum())
    return right / len(digits.test)


def train(
    model: Perceptron, digits: Digits, schedule: Schedule, seed: int, kept: Path | None = None,
    tick: Tick = lambda said: None, save_every: float = 30.0,
) -> list[float]:  # fmt: skip
    """Train in place, and give the mean loss of every epoch.

    The order of an epoch depends on seed and epoch alone: a run that goes on equals one that was never stopped.

    Args:
        kept: a safetensors file with weights, momenta and place, written after epochs at most every ``save_every``
            seconds and at the end; training goes on from it.

    Raises:
        BrokenFile: ``kept`` is of another schedule, seed or width, or of other images.
    """
    weights = list(model.parameters())
    momenta = [torch.zeros_like(w) for w in weights]
    mark = f"{schedule}, seed {seed}, {len(weights[0])} units, {len(digits.train)} images"
    losses = _resume(kept, weights, momenta, mark) if kept is not None else []
    saved = time.monotonic()
    for epoch in range(len(losses), schedule.epochs):
        lr = schedule.lr * rate(schedule.steps_down, epoch / schedule.epochs)
        losses.append(_epoch(model, digits, schedule, seed * 10_007 + epoch, lr, momenta))
        tick(f"loss {losses[-1]:.4f}")
        if kept is not None and (time.monotonic() - saved > save_every or len(losses) == schedule.epochs):
            _keep(kept, weights, momenta, mark, losses)
            saved = time.monotonic()
    return losses


def _epoch(model: Perceptron, digits: Digits, schedule: Schedule, seed: int, lr: float, momenta: list[Tensor]) -> float:
    device, weights, total = digits.train.device, list(model.parameters()), 0.0
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(seed)).to(device)
    for chosen in order.split(schedule.batch):
        x, labels = normalise(digits.train[chosen]), digits.train_labels[chosen]
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.bfloat16):
            loss = F.cross_entropy(model(x).float(), labels)
        for weight, momentum, grad in zip(weights, momenta, torch.autograd.grad(loss, weights), strict=True):
            momentum.mul_(schedule.momentum).add_(grad)
            weight.data.add_(momentum, alpha=-lr)
        total += float(loss.detach()) * len(chosen)
    return total / len(order)


def _keep(path: Path, weights: Sequence[Tensor], momenta: Sequence[Tensor], mark: str, losses: list[float]) -> None:
    names = ("first", "second")
    tensors = {name: w.detach().cpu() for name, w in zip(names, weights, strict=True)}
    tensors |= {f"momentum.{name}": m.cpu() for name, m in zip(names, momenta, strict=True)}
    made(path.parent)
    with replacing(path) as part:
        save_file(tensors, str(part), metadata={"mark": mark, "losses": json.dumps(losses)})


def _resume(path: Path, weights: Sequence[Tensor], momenta: Sequence[Tensor], mark: str) -> list[float]:
    """Fill weights and momenta from the file, if it is there; the losses of the epochs that are done."""
    if not path.is_file():
        return []
    with safe_open(str(path), framework="pt") as file:
        told = file.metadata()
        if told.get("mark") != mark:
            raise BrokenFile(f"{path} is of {told.get('mark')}, not of {mark}; remove it, or name another folder")
        for name, weight, momentum in zip(("first", "second"), weights, momenta, strict=True):
            weight.data.copy_(file.get_tensor(name))
            momentum.copy_(file.get_tensor(f"momentum.{name}"))
    losses: list[float] = json.loads(told["losses"])
    return losses


__all__ = ["Perceptron", "accuracy", "train"]
