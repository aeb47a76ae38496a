"""Laws of training: a run resumes bit for bit and repeats itself under a seed."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from niwaki.methods import Method
from niwaki.testing.laws.exercise import Make, OptimizerFactory, Session, begin, momentum
from niwaki.testing.laws.verdict import attempting, demand, first_difference
from niwaki.testing.laws.weather import weather


def resumes_bit_for_bit(
    make: Make,
    method: Method,
    steps: int,
    stops: Iterable[int] | None = None,
    *,
    optimizer: OptimizerFactory = momentum,
) -> None:
    """A run that stops, goes through a file and goes on in fresh objects ends as the run that never stopped.

    The states of run, model and optimizer go through ``torch.save`` and ``torch.load(weights_only=True)``. The fresh
    model is scrambled first, so that what is not loaded shows.

    Args:
        make: builds the exercise. steps: of the whole run, enough for the method to finish.
        stops: after how many steps to stop, each tried by itself. If None: after the first, in the middle, and around
            the cut (two steps before, right before, right after, one step after).

    Raises:
        LawBroken: with the stop, and the first tensor or figure that differs.
    """
    whole = begin(make, method, optimizer)
    saved = [_to_bytes(whole)]
    cut_after: int | None = None
    for step in range(steps):
        with attempting(f"step {step} of {method.name}"):
            whole.train(step, step + 1)
        saved.append(_to_bytes(whole))
        if cut_after is None and whole.run.receipt is not None:
            cut_after = step + 1
    demand(whole.run.finished, f"{method.name} was not finished after {steps} steps; give the law more of them")
    for stop in _stops(stops, cut_after, steps):
        with attempting(f"resuming {method.name} after step {stop}"):
            resumed = _from_bytes(saved[stop], make, method, optimizer)
            resumed.train(stop, steps)
        place = first_difference(_state(whole), _state(resumed))
        demand(place is None, f"{method.name}, stopped after {stop} of {steps} steps: {place} ends otherwise")


def deterministic(make: Make, method: Method, steps: int, *, optimizer: OptimizerFactory = momentum) -> None:
    """Two runs of one exercise end alike bit for bit, whatever the global generators say.

    Raises:
        LawBroken: with the first tensor or figure that differs.
    """
    ends = []
    for seed in (11, 22):
        with weather(seed), attempting(f"running {method.name} for {steps} steps"):
            session = begin(make, method, optimizer)
            session.train(0, steps)
        ends.append(_state(session))
    place = first_difference(*ends)
    demand(place is None, f"{method.name}: two runs that differ in global random state alone differ at {place}")


def _stops(asked: Iterable[int] | None, cut_after: int | None, steps: int) -> list[int]:
    if asked is None:
        around = () if cut_after is None else (cut_after - 2, cut_after - 1, cut_after, cut_after + 1)
        asked = (1, (cut_after or steps) // 2, *around)
    return sorted({stop for stop in asked if 0 <= stop <= steps})


def _state(session: Session) -> dict[str, Any]:
    run = session.run
    return {"run": run.state_dict(), "model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}


def _to_bytes(session: Session) -> bytes:
    file = io.BytesIO()
    torch.save(_state(session), file)
    return file.getvalue()


def _from_bytes(data: bytes, make: Make, method: Method, optimizer: OptimizerFactory) -> Session:
    """Fresh objects with the saved states: the run's first, since it makes the others fit."""
    state = torch.load(io.BytesIO(data), weights_only=True)
    session = begin(make, method, optimizer)
    _scramble(session.run.model)
    session.run.load_state_dict(state["run"])
    session.run.model.load_state_dict(state["model"])
    session.run.optimizer.load_state_dict(state["optimizer"])
    return session


@torch.no_grad()
def _scramble(model: nn.Module) -> None:
    with weather(99):
        for p in model.parameters():
            if p.is_floating_point():
                p.normal_()
