"""The two training phases of a run: pruning in training, and fine-tuning after the cut."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.methods import Method
from niwaki.pruning import Pruning
from niwaki.recipes.borrowed import call
from niwaki.recipes.chance import reseed
from niwaki.recipes.ingredients import Ingredients, finite, optimizer_for
from niwaki.recipes.passes import Meter, Passes
from niwaki.recipes.progress import Teller
from niwaki.recipes.rates import Linear, Step, rate
from niwaki.recipes.scored import scoring
from niwaki.recipes.standing import Standing
from niwaki.schedules import within_round
from niwaki.surgery.cut import attach, cut_, plan_of
from niwaki.train.stepping import stand_in
from niwaki.train.zeros import Zeros
from niwaki.units import Plan
from niwaki.wrappers import bare, unwrapped

_ROWS = 200  # updates of a penalty that are recorded, about: enough for a smooth picture


@dataclass(frozen=True, eq=False)
class Pruned:
    """What a method has made of a network. ``gone``: the single weights that it has put zeros in, by tensor name."""

    model: nn.Module
    gone: Mapping[str, Tensor]

    def zeros(self) -> Zeros:
        """These zeros, held. Other weights may be zero too, as they were made, and are free to move."""
        weights, zeros = dict(bare(self.model).named_parameters()), Zeros(self.model)
        zeros.put({name: mask.to(weights[name].device) for name, mask in self.gone.items()})
        return zeros


def prune_with(stuff: Ingredients, model: nn.Module, method: Method, standing: Standing, teller: Teller) -> Pruned:
    """Prune ``model`` (it may be changed in place)."""
    reseed(stuff.recipe.seed)
    meter = Meter(standing.record, "prune")
    seen: dict[str, Any] = {"record": scoring(stuff, model, method, standing, meter)}
    if method.needs:
        seen["data"] = stuff.batches(stuff.recipe.seed)
        seen["loss"] = stuff.loss and partial(call, "loss", stuff.loss)
    if not method.takes_time:
        with teller.wait(f"{method.name}: prune"):
            model = unwrapped(model, "the pruned network")
            run = Pruning(model, stand_in(model), method, stuff.inputs, **seen)
            run.run_at_once()
        return _pruned(stuff, run)
    assert stuff.recipe.optimizer is not None
    optimizer = optimizer_for(stuff.recipe.optimizer, model)
    run = Pruning(model, optimizer, method, stuff.inputs, record_every=thinning(method), **seen)
    peaks = [group["lr"] for group in optimizer.param_groups]
    passes = Passes(stuff.batches(stuff.recipe.seed), meter)
    _go_on(standing.of("prune"), passes, run, optimizer)
    model.train()
    with standing.stopping, teller.stage(f"{method.name}: prune", method.body.longest, run.steps) as advance:
        for batch in passes:
            _set_rates(optimizer, peaks, rate_in_round(stuff.recipe.optimizer.schedule, method, run.steps))
            loss = _backward(stuff, run.model, optimizer, batch, run.steps, stuff.recipe.optimizer.clip)
            meter.add(loss, batch)
            run.step()
            advance(_beside_the_bar(run.pressure, loss))
            if run.finished:
                break
            standing.keep("prune", lambda: {**_state(run.model, optimizer, passes), "run": run.state_dict()})
    meter.end_epoch()
    return _pruned(stuff, run)


def _beside_the_bar(pressure: Mapping[str, float], loss: float) -> str:
    """The penalty that grows; the loss, of methods that have none, and while nothing is pressed."""
    return f"penalty {max(pressure.values()):.3g}" if pressure else f"loss {loss:.3g}"


def _pruned(stuff: Ingredients, run: Pruning) -> Pruned:
    """The network, and the zeros of the method: what it has masked, and what its penalty has made zero beside."""
    now, dense = (dict(bare(model).named_parameters()) for model in (run.model, stuff.dense))
    gone = {name: mask | ((now[name] == 0) & (dense[name] != 0)) for name, mask in run.zeroed.items()}
    return Pruned(run.model, gone)


def _go_on(state: Mapping[str, Any] | None, passes: Passes, run: Pruning, optimizer: torch.optim.Optimizer) -> None:
    """Take up pruning from where it was stopped."""
    if state is not None:
        run.load_state_dict(state["run"])
        _fill(run.model, state)
        optimizer.load_state_dict(state["optimizer"])
        passes.go_on(state["passes"])


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, passes: Passes) -> dict[str, Any]:
    named = model.state_dict()
    unsaved = {name: buffer for name, buffer in model.named_buffers() if name not in named}
    told = {"model": named, "unsaved": unsaved, "optimizer": optimizer.state_dict()}
    return {**told, "passes": passes.state()}


def _fill(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Weights and buffers, those with them that a model does not save."""
    model.load_state_dict(state["model"])
    buffers = dict(model.named_buffers())
    for name, value in state["unsaved"].items():
        buffers[name].copy_(value)


def finetune(stuff: Ingredients, pruned: Pruned, standing: Standing, teller: Teller, title: str, before: int) -> None:
    """Train the small model in place; the schedule and the seed are the same for all methods."""
    plan, model = stuff.recipe.finetune, pruned.model
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
    meter, zeros = Meter(standing.record, "finetune", before), pruned.zeros()
    passes = Passes(batches, meter, plan.epochs)
    _tune_on(standing.of("finetune"), passes, optimizer)
    model.train()
    total = None if each is None else each * plan.epochs
    done = (each or 0) * passes.epoch + passes.done
    with standing.stopping, teller.stage(f"{title}: fine-tune", total, done) as advance:
        for batch in passes:
            # Batches that cannot be counted: the rate changes from epoch to epoch only.
            k = passes.done - 1
            _set_rates(optimizer, peaks, rate(plan.schedule, (passes.epoch + (k / each if each else 0)) / plan.epochs))
            loss = _backward(stuff, model, optimizer, batch, k, choice.clip)
            optimizer.step()
            zeros.hold()
            meter.add(loss, batch)
            advance(f"loss {loss:.3g}")
            standing.keep("finetune", lambda: {**_state(model, optimizer, passes), **_of_pruning(pruned)})


def _tune_on(state: Mapping[str, Any] | None, passes: Passes, optimizer: torch.optim.Optimizer) -> None:
    """Take up fine-tuning from where it was stopped. The model is that of :func:`stopped_model`."""
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
        passes.go_on(state["passes"])


def stopped_model(stuff: Ingredients, state: Mapping[str, Any]) -> Pruned:
    """The pruned network as it was when fine-tuning stopped, and what is to stay zero in it."""
    small, plan = copy.deepcopy(stuff.dense), Plan.from_json(state["plan"])
    if plan.removed:
        cut_(small, plan)
    else:
        attach(small, plan)
    _fill(small, state)
    return Pruned(small, state["gone"])


def _of_pruning(pruned: Pruned) -> dict[str, Any]:
    """What :func:`stopped_model` needs to know of it."""
    plan = plan_of(pruned.model)
    assert plan is not None
    return {"plan": plan.to_json(), "gone": dict(pruned.gone)}


def rate_in_round(schedule: str | Step | Linear, method: Method, step: int) -> float:
    """Share of the highest rate at a step of pruning. Of a method whose length nobody knows, only the constant one."""
    if schedule == "constant":
        return 1.0
    steps, done = within_round(method.rounds, step)
    return rate(schedule, done / steps)


def _set_rates(optimizer: torch.optim.Optimizer, peaks: list[float], share: float) -> None:
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * share


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


def _length(batches: Iterable[Any]) -> int | None:
    """Batches per epoch, if they can be counted (a DataLoader over a stream has a ``__len__`` that raises)."""
    try:
        return len(batches) if isinstance(batches, Sized) else None
    except TypeError:
        return None


__all__ = ["Pruned", "finetune", "prune_with", "stopped_model", "thinning"]
