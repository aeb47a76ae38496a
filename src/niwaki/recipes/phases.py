"""The two training phases of a run: pruning in training, and fine-tuning after the cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from functools import partial
from typing import Any

import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.methods import Method
from niwaki.pruning import Pruning, prune
from niwaki.recipes.borrowed import call
from niwaki.recipes.ingredients import Ingredients, batch_size, finite, optimizer_for, reseed
from niwaki.recipes.progress import Teller
from niwaki.recipes.rates import Linear, Step, rate
from niwaki.recipes.record import RunRecord
from niwaki.schedules import within_round
from niwaki.surgery.cut import plan_of
from niwaki.surgery.singles import single_weights
from niwaki.train.zeros import Zeros

_ROWS = 200  # updates of a penalty that are recorded, about: enough for a smooth picture


def prune_with(stuff: Ingredients, model: nn.Module, method: Method, record: RunRecord, teller: Teller) -> nn.Module:
    """Prune ``model`` (it may be changed in place) and give the small one."""
    reseed(stuff.recipe.seed)
    seen: dict[str, Any] = {}
    if method.needs:
        seen["data"] = stuff.batches(stuff.recipe.seed)
        seen["loss"] = stuff.loss and partial(call, "loss", stuff.loss)
    if not method.takes_time:
        with teller.wait(f"{method.name}: prune"):
            return prune(model, stuff.inputs, method, record=record, **seen)
    assert stuff.recipe.optimizer is not None
    optimizer = optimizer_for(stuff.recipe.optimizer, model)
    run = Pruning(model, optimizer, method, stuff.inputs, record=record, record_every=thinning(method), **seen)
    model.train()
    meter, peaks = Meter(record, "prune"), [group["lr"] for group in optimizer.param_groups]
    with teller.stage(f"{method.name}: prune", method.body.longest) as advance:
        for batch in _forever(stuff.batches(stuff.recipe.seed), meter):
            _set_rates(optimizer, peaks, rate_in_round(stuff.recipe.optimizer.schedule, method, run.steps))
            meter.add(_backward(stuff, run.model, optimizer, batch, run.steps, stuff.recipe.optimizer.clip), batch)
            run.step()
            advance(f"penalty {max(run.pressure.values(), default=0.0):.3g}")
            if run.finished:
                break
    meter.end_epoch()
    return run.model


def finetune(stuff: Ingredients, model: nn.Module, record: RunRecord, teller: Teller, title: str, before: int) -> None:
    """Train the small model in place; the schedule and the seed are the same for all methods."""
    plan = stuff.recipe.finetune
    if plan is None or plan.epochs == 0:
        return
    choice = plan.optimizer or stuff.recipe.optimizer
    assert choice is not None
    batches = stuff.batches(stuff.recipe.seed + 1, tuning=True)
    optimizer = optimizer_for(choice, model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    each = _length(batches)
    if each is None and isinstance(plan.schedule, Linear) and plan.schedule.warmup:
        raise BadInput("finetune.schedule: a rate that rises from step to step needs data whose batches have a len()")
    model.train()
    meter, zeros = Meter(record, "finetune", before), zeros_of(model)
    with teller.stage(f"{title}: fine-tune", None if each is None else each * plan.epochs) as advance:
        for epoch in range(plan.epochs):
            for k, batch in enumerate(_once(batches, epoch)):
                # Batches that cannot be counted: the rate changes from epoch to epoch only.
                _set_rates(optimizer, peaks, rate(plan.schedule, (epoch + (k / each if each else 0)) / plan.epochs))
                loss = _backward(stuff, model, optimizer, batch, k, choice.clip)
                optimizer.step()
                zeros.hold()
                meter.add(loss, batch)
                advance(f"loss {loss:.3g}")
            meter.end_epoch()


def zeros_of(model: nn.Module) -> Zeros:
    """The single weights that are zero, if a method left zeros in place of cutting: they are not to come back."""
    zeros, plan = Zeros(model), plan_of(model)
    if plan is not None and not plan.removed:
        gone = {name: weight == 0 for name, weight in single_weights(model).items()}
        zeros.put({name: mask for name, mask in gone.items() if mask.any()})
    return zeros


def rate_in_round(schedule: str | Step | Linear, method: Method, step: int) -> float:
    """Share of the highest rate at a step of pruning. Of a method whose length nobody knows, only the constant one."""
    if schedule == "constant":
        return 1.0
    steps, done = within_round(method.rounds, step)
    return rate(schedule, done / steps)


def _set_rates(optimizer: torch.optim.Optimizer, peaks: list[float], share: float) -> None:
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * share


class Meter:
    """Mean loss per epoch and images seen, for the record."""

    def __init__(self, record: RunRecord, phase: str, images: int = 0) -> None:
        self.record, self.phase, self.images, self.epoch = record, phase, images, 0
        self._losses: list[float] = []

    def add(self, loss: float, batch: Any) -> None:
        self._losses.append(loss)
        self.images += batch_size(batch)

    def end_epoch(self) -> None:
        """Write the epoch's row, if there was anything in it."""
        if self._losses:
            mean = sum(self._losses) / len(self._losses)
            self.record(
                {"event": "epoch", "phase": self.phase, "epoch": self.epoch, "images": self.images, "loss": mean}
            )
        self.epoch, self._losses = self.epoch + 1, []


def thinning(method: Method) -> int:
    """Of how many updates one is recorded, for a picture that is smooth and a record that stays small."""
    return max(1, method.body.updates // _ROWS)


def _backward(
    stuff: Ingredients, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any, step: int, clip: float | None
) -> float:
    """Leave the gradients of one batch in the parameters, no longer than ``clip``; give its loss."""
    assert stuff.loss is not None
    optimizer.zero_grad(set_to_none=True)
    loss = call("loss", stuff.loss, model, batch)
    value = finite(loss, step)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    return value


def _forever(batches: Iterable[Any], meter: Meter) -> Iterator[Any]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from _once(batches, epoch)
        meter.end_epoch()
        epoch += 1


def _once(batches: Iterable[Any], epoch: int) -> Iterator[Any]:
    """One epoch. A failure in the user's loader is told as theirs; an empty epoch is an error."""
    iterator, empty = call("data", iter, batches), True
    while True:
        batch = call("data", next, iterator, _END)
        if batch is _END:
            break
        empty = False
        yield batch
    if empty:
        raise BadInput(
            f"data gave no batches in epoch {epoch + 1}. It is iterated once per epoch, and a generator is empty after "
            "the first: return a list, a DataLoader, or an object whose __iter__ starts anew."
        )


_END = object()


def _length(batches: Iterable[Any]) -> int | None:
    """Batches per epoch, if they can be counted (a DataLoader over a stream has a ``__len__`` that raises)."""
    try:
        return len(batches) if isinstance(batches, Sized) else None
    except TypeError:
        return None


__all__ = ["finetune", "prune_with", "thinning"]
