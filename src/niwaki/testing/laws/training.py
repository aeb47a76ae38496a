"""Laws of training: a run resumes bit for bit and repeats itself under a seed."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import torch

from niwaki.methods import Method
from niwaki.testing.laws.exercise import Make, OptimizerFactory, Session, begin, momentum, scramble
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
        stops: after how many steps to stop, each tried by itself. If None: after the first step, half way to the cut,
            where one part of the method gives way to the next, and right before and right after the cut.

    Raises:
        LawBroken: with the stop, and the first tensor or figure that differs.
    """
    whole = begin(make, method, optimizer)
    saved, turns = [_to_bytes(whole)], {1}
    for step in range(steps):
        before = _phase(whole)
        with attempting(f"step {step} of {method.name}"):
            whole.train(step, step + 1)
        saved.append(_to_bytes(whole))
        if _phase(whole) != before:
            turns |= {(step + 1) // 2, step, step + 1}
    demand(whole.run.finished, f"{method.name} was not finished after {steps} steps; give the law more of them")
    for stop in sorted(turns if stops is None else stops):
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
    one, other = (_end(make, method, steps, optimizer, seed) for seed in (11, 22))
    place = first_difference(one, other)
    demand(place is None, f"{method.name}: two runs that differ in global random state alone differ at {place}")


def _end(make: Make, method: Method, steps: int, optimizer: OptimizerFactory, seed: int) -> dict[str, Any]:
    with weather(seed), attempting(f"running {method.name} for {steps} steps"):
        session = begin(make, method, optimizer)
        session.train(0, steps)
    return _state(session)


def _phase(session: Session) -> tuple[object, ...]:
    """Changes where the method moves on to its next part, or the run cuts."""
    state = session.run.state_dict()
    zeros = sum(int(gone.sum()) for gone in state["zeroed"].values())
    return state["state"].get("index"), len(state["plans"]), zeros, state["finished"]


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
    scramble(session.run.model)
    session.run.load_state_dict(state["run"])
    session.run.model.load_state_dict(state["model"])
    session.run.optimizer.load_state_dict(state["optimizer"])
    return session
