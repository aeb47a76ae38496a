"""How the learning rate changes while a network is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from niwaki.errors import BadInput, unknown_key
from niwaki.recipes import checks

NAMED = ("cosine", "constant", "linear")
_SAID = (*NAMED, "{linear: {warmup: 0.1}}", "{step: [1/2, 3/4]}")


@dataclass(frozen=True)
class Step:
    """A tenth of the rate from each of these places on: shares of all epochs, above 0 and below 1, rising."""

    at: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {"step": list(self.at)}


@dataclass(frozen=True)
class Linear:
    """Up from 0 in a straight line over the first share of the steps, then down to 0, as encoders are fine-tuned."""

    warmup: float = 0.0

    def to_json(self) -> Any:
        return {"linear": {"warmup": self.warmup}} if self.warmup else "linear"


def read_schedule(where: str, value: Any) -> str | Step | Linear:
    """``cosine``, ``constant``, ``linear``, ``{linear: {warmup: 0.1}}`` or ``{step: [1/2, 0.75]}``.

    Raises:
        BadInput: anything else.
    """
    if not isinstance(value, Mapping):
        if value not in NAMED:
            raise unknown_key(where, str(value), _SAID)
        return Linear() if value == "linear" else str(value)
    if "linear" in value:
        return _linear(where, checks.mapping(where, value, ("linear",))["linear"])
    found = checks.mapping(where, value, ("step", "linear"), ("step",))
    places = tuple(_place(where, share) for share in checks.listed(found["step"]))
    if not places or any(b <= a for a, b in itertools.pairwise(places)):
        raise BadInput(f"{where}.step must be rising shares of the epochs, such as [1/2, 3/4], not {found['step']!r}")
    return Step(places)


def _linear(where: str, said: Any) -> Linear:
    share = checks.mapping(f"{where}.linear", said, ("warmup",)).get("warmup", 0.0)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
        raise BadInput(f"{where}.linear.warmup must be a share of all steps from 0 to below 1, not {share!r}")
    return Linear(float(share))


def _place(where: str, share: Any) -> float:
    """A share as a number, or as text: 1/3 of 90 epochs is their 30, and 0.333 is not."""
    try:
        found = float(Fraction(share)) if isinstance(share, (str, int, float)) else math.nan
    except (ValueError, ZeroDivisionError, OverflowError):
        found = math.nan
    if not 0 < found < 1:
        raise BadInput(f"{where}.step must be shares of the epochs above 0 and below 1, such as 1/2, not {share!r}")
    return found


def schedule_json(schedule: str | Step | Linear) -> Any:
    """As it is written in a recipe."""
    return schedule if isinstance(schedule, str) else schedule.to_json()


def rate(schedule: str | Step | Linear, progress: float) -> float:
    """Share of the peak learning rate at a progress from 0 to 1."""
    if isinstance(schedule, Step):
        return float(10.0 ** -sum(progress >= place for place in schedule.at))
    if isinstance(schedule, Linear):
        up = schedule.warmup
        return progress / up if progress < up else (1 - progress) / (1 - up)
    return 1.0 if schedule == "constant" else 0.5 + 0.5 * math.cos(math.pi * progress)


__all__ = ["NAMED", "Linear", "Step", "rate", "read_schedule", "schedule_json"]
