"""Train a classifier on a CPU, and count how often it is right."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.demo.dataset import Batches, normalise
from niwaki.graph.observe import evaluating
from niwaki.vision.jobs import training as jobs

WARM_UP = 0.15  # share of all steps


def warm_cosine(progress: float) -> float:
    """Share of the peak learning rate: up in a line over 15 % of the steps, then down a cosine to 0."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))


def constant(progress: float) -> float:
    """The peak learning rate throughout."""
    return 1.0


def sgd(model: nn.Module, lr: float, *, weight_decay: float = 5e-4) -> torch.optim.SGD:
    """The optimizer that `train` uses by default: Nesterov momentum 0.9, decay of all parameters."""
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)


def train(
    model: nn.Module,
    batches: Batches,
    epochs: int,
    lr: float,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    step: Callable[[], object] | None = None,
    on_batch: Callable[[float], object] | None = None,
    schedule: Callable[[float], float] = warm_cosine,
    clean: int = 0,
    bf16: bool | None = None,
) -> None:
    """Train `model` in place by cross-entropy.

    Args:
        model: gives logits (N, classes); it is left in training mode.
        batches: what to train on; each epoch iterates it once.
        epochs: how often.
        lr: the peak learning rate.
        optimizer: by default, `sgd(model, lr)`.
        step: called after each backward pass in place of `optimizer.step`. It may change the model and the
            optimizer, as a pruning engine does.
        on_batch: called after each step with the loss of its batch, for a progress bar.
        schedule: share of `lr` at a progress between 0 and 1, asked before each step.
        clean: how many of the last epochs see the images as they are, neither shifted nor mirrored.
        bf16: compute convolutions and products in bfloat16; by default, where `bf16_pays()`.

    Raises:
        FloatingPointError: the loss is no longer a finite number.
    """
    optimizer = sgd(model, lr) if optimizer is None else optimizer
    step = optimizer.step if step is None else step
    bf16 = bf16_pays() if bf16 is None else bf16
    model.train()
    _lay_out(model, torch.channels_last)
    total = epochs * len(batches)
    for done, (images, labels) in enumerate(_draw(batches, epochs, clean), start=1):
        _set_lr(optimizer, lr * schedule(done / total))
        loss = _backward(model, optimizer, images, labels, bf16)
        step()
        if on_batch is not None:
            on_batch(loss)
    _lay_out(model, torch.contiguous_format)  # files of weights want plain strides


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, size: int = 500) -> float:
    """Share of right answers, 0 to 1, in evaluation mode; the modes of all modules are put back afterwards.

    Args:
        model: gives logits (N, classes).
        images: uint8, N x 1 x H x W.
        labels: int64, N.
        size: images in a batch.
    """
    with evaluating(model):
        pairs = zip(images.split(size), labels.split(size), strict=True)
        right = sum(int((model(normalise(x)).argmax(1) == y).sum()) for x, y in pairs)
    return right / len(labels)


def best_threads(step: Callable[[], object], *, rounds: int = 5) -> int:
    """Set and give the number of threads that takes the least time for ``step``: all of them, or one.

    On a machine with other work, threads that wait for each other are far slower than one alone.
    """
    most, spent = torch.get_num_threads(), {}
    for threads in dict.fromkeys((1, most)):
        torch.set_num_threads(threads)
        step()
        spent[threads] = min(_seconds(step) for _ in range(rounds))
    best = min(spent, key=spent.__getitem__)
    torch.set_num_threads(best)
    return best


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def bf16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is emulated, and slower than float32.

    The answer is a fact about the processor and not a measurement, so that two runs compute alike.
    """
    return jobs.bf16_pays("cpu")


def _draw(batches: Batches, epochs: int, clean: int) -> Iterator[tuple[Tensor, Tensor]]:
    augmented = batches.augmented
    try:
        for epoch in range(epochs):
            batches.augmented = augmented and epoch < epochs - clean
            yield from batches
    finally:
        batches.augmented = augmented


def _backward(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, bf16: bool) -> float:
    """Leave the gradients of one batch in the parameters; give its loss."""
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value}: train with a smaller learning rate")
    loss.backward()
    return value


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    """Order the memory of the weights; channels last trains these networks 1.1 to 1.5 times as fast."""
    model.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs leave the argument out


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
