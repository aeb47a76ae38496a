"""The law of trainers: who runs the loop makes no difference."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from niwaki.methods import Method
from niwaki.testing.laws.exercise import Make
from niwaki.testing.laws.lesson import Circumstances, Driver, Lesson, Outcome
from niwaki.testing.laws.verdict import attempting, demand, first_difference
from niwaki.testing.laws.weather import weather

DRIVERS = {
    "Trainer": "niwaki.testing.laws.with_transformers:train",
    "Lightning": "niwaki.testing.laws.with_lightning:train",
    "Accelerate": "niwaki.testing.laws.with_accelerate:train",
}
"""Who can run a loop, and where the driver is; a driver imports its trainer."""


def same_in_every_trainer(
    make: Make,
    method: Method,
    steps: int,
    circumstances: Circumstances | None = None,
    trainers: Iterable[str] = tuple(DRIVERS),
) -> None:
    """The Trainer of transformers, Lightning and Accelerate end where a plain loop ends, bit for bit: weights, averaged
    weights, the optimizer's state, and the state of the run with its plans.

    Args:
        make: builds the exercise. steps: of the optimizer, enough for the method to finish.
        circumstances: how is trained; in single precision, every batch a step, if None.

    Raises:
        LawBroken: with the trainer, and the first tensor or figure that differs.
    """
    asked = Circumstances() if circumstances is None else circumstances
    plain = _outcome("a plain loop", in_a_plain_loop, make, method, steps, asked)
    demand(plain.run["finished"], f"{method.name} was not finished after {steps} steps; give the law more of them")
    for name in trainers:
        room, _, driver = DRIVERS[name].partition(":")
        found = _outcome(name, getattr(import_module(room), driver), make, method, steps, asked)
        place = first_difference(vars(plain), vars(found))
        demand(place is None, f"{method.name} in {name} ({asked}): {place} ends otherwise than in a plain loop")


def in_a_plain_loop(lesson: Lesson) -> None:
    """The loop that everyone else must equal."""
    asked, optimizer, run = lesson.asked, lesson.optimizer, lesson.begin()
    scaler = asked.scaler()
    for step in range(lesson.steps):
        optimizer.zero_grad()
        for part in range(asked.accumulate):
            with asked.autocast():
                loss = lesson.loss(step * asked.accumulate + part) / asked.accumulate
            _backward(loss if scaler is None else scaler.scale(loss))
        if asked.clip and scaler is not None:
            scaler.unscale_(optimizer)
        lesson.clip()
        run.step(scaler)
        if scaler is not None:
            scaler.update()
        lesson.after_step()


def _backward(loss: Any) -> None:
    loss.backward()


def _outcome(name: str, driver: Driver, make: Make, method: Method, steps: int, asked: Circumstances) -> Outcome:
    with weather(5), attempting(f"{method.name} in {name} ({asked})"):
        lesson = Lesson(make(), method, steps, asked)
        driver(lesson)
        return lesson.outcome()


__all__ = ["DRIVERS", "in_a_plain_loop", "same_in_every_trainer"]
