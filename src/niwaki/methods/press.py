"""Pressing: the parts that make units shrink while the network trains (GReg, Sec. 3.2 and 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.parts import Part, at_least
from niwaki.methods.view import Of, Orders, Outcome, Pressing, State, View, check_of
from niwaki.penalties import Penalty, Ridge
from niwaki.ranks import is_sharded, whole
from niwaki.schedules import Constant, Ramp, Schedule, above_zero
from niwaki.scores import L1
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class Spread(Part):
    """Press *all* units of the groups that a target may take from, alike and a little more at each update.

    What the loss needs resists, and the rest shrinks: norms spread by the curvature of the loss (GReg, Eqs. 5 to 9).
    The part is over when the factor has reached ``ceiling`` and its last update has had its steps.
    """

    penalty: Penalty = field(default_factory=Ridge)
    schedule: Ramp = field(default_factory=lambda: Ramp(1e-5, 10))
    ceiling: float = 0.01
    target: Target = field(default_factory=Ratio)
    of: Of = "units"
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_of(self.of)
        above_zero(self.ceiling, "ceiling")
        if not isinstance(self.schedule, Ramp):
            raise BadInput(f"all units are pressed with a growing factor, a Ramp, not {self.schedule!r}")

    @property
    def longest(self) -> int:
        return self.schedule.every * self.updates

    @property
    def updates(self) -> int:
        return raises(self.schedule, self.ceiling)

    @property
    def reached(self) -> float:
        """The factor at its end: the ceiling, or where that lies between two factors the one above."""
        last = math.ceil((self.ceiling * (1 - NEARLY) - self.schedule.start) / self.schedule.grow)
        factor = self.schedule.at(max(1, last))
        return self.ceiling if factor <= self.ceiling * (1 + NEARLY) else factor

    def begin(self, view: View) -> State:
        return {"step": 0, "update": 0, "groups": view.offered(self.target, self.of)}

    def step(self, state: State, view: View) -> Outcome:
        if state["step"] == 0:
            view.note(event="phase", phase="spread")
        if self.schedule.updates(state["step"]):
            state["update"] += 1
            if view.recording:
                worth = view.worth(L1(), self.of)
                for name in state["groups"]:
                    _record(view, name, worth[name], self.schedule.at(state["update"]))
        state["step"] += 1
        factor = self.schedule.at(state["update"])
        view.pressure = dict.fromkeys(state["groups"], factor)
        view.kept_pressure = dict(view.pressure)
        orders = Orders(press=(Pressing(self.penalty, view.pressure, view.kept_pressure, self.of),))
        return Outcome(orders, over=factor >= self.ceiling * (1 - NEARLY) and self.schedule.updates(state["step"]))


@dataclass(frozen=True)
class Press(Part):
    """Press the chosen units with a growing penalty until they have parted from the kept ones.

    Every group has its own factor. A group is done, and its factor frozen, when the factor passes ``ceiling``; or when
    the mean weight of its kept units is ``parted`` times that of its chosen ones (a moving average over updates, 0.9
    old and 0.1 new; without ``parted``, over those that are recorded), in *all* groups or, with ``each``, in this one.
    The part is over when all groups are done, or after so many ``steps``. Meanwhile the kept units of these groups are
    let grow with the factor ``-restore``.
    """

    penalty: Penalty = field(default_factory=Ridge)
    schedule: Schedule = field(default_factory=lambda: Ramp(1e-4, 10))
    ceiling: float = 1.0
    parted: float | None = 1000.0
    each: bool = False
    restore: float = 0.0
    steps: int | None = None
    of: Of = "units"
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_of(self.of)
        above_zero(self.ceiling, "ceiling")
        if self.restore != 0:
            above_zero(self.restore, "restore")
        if self.steps is not None:
            at_least(self.steps, 1, "steps")
        if self.parted is not None:
            above_zero(self.parted, "parted")
        elif isinstance(self.schedule, Constant) and self.schedule.value <= self.ceiling and self.steps is None:
            raise BadInput("a constant schedule at or below the ceiling never ends: set parted or steps, or use hold")
        if isinstance(self.schedule, Ramp) and self.schedule.start >= self.ceiling:
            raise BadInput(
                f"the factor starts at {self.schedule.start:g}, which is not below the ceiling of {self.ceiling:g}: "
                "nothing would be pressed. Raise the ceiling, or start (pick) lower, or by finer steps (pick_grow)"
            )

    @property
    def longest(self) -> int | None:
        most = self.schedule.every * self.updates if isinstance(self.schedule, Ramp) else None
        return min((n for n in (most, self.steps) if n is not None), default=None)

    @property
    def updates(self) -> int:
        if isinstance(self.schedule, Ramp):
            return raises(self.schedule, self.ceiling)
        return (self.steps or 0) // self.schedule.every

    def begin(self, view: View) -> State:
        names = [name for name, chosen in view.chosen.items() if how_many(chosen)]
        return {
            "step": 0,
            "updates": dict.fromkeys(names, 0),
            "ratio": {},
            "done": dict.fromkeys(names, False),
        }

    def step(self, state: State, view: View) -> Outcome:
        if state["step"] == 0:
            view.note(event="phase", phase="press")
        if self.schedule.updates(state["step"]):
            self._update(state, view)
        state["step"] += 1
        view.pressure = {name: self.schedule.at(n) for name, n in state["updates"].items()}
        view.kept_pressure = dict.fromkeys(state["updates"], -self.restore) if self.restore else {}
        orders = Orders(press=(Pressing(self.penalty, view.pressure, view.kept_pressure, self.of),))
        return Outcome(orders, over=all(state["done"].values()) or state["step"] == self.steps)

    def _update(self, state: State, view: View) -> None:
        """Raise the factors of the groups that are not done, then see which are."""
        updates, ratio, done = state["updates"], state["ratio"], state["done"]
        now: dict[str, float] = {}
        recording = view.recording
        # All weights are read for this, so only where somebody looks at it.
        worth = view.worth(L1(), self.of) if recording or self.parted is not None else {}
        for name in updates:
            updates[name] += not done[name]
            if worth:
                now[name] = _ratio(*_finite(name, *parting(worth[name], view.chosen[name])))
                ratio[name] = now[name] if name not in ratio else min(0.9 * ratio[name] + 0.1 * now[name], MOST)
        far = {name: self.parted is not None and ratio[name] >= self.parted for name in updates}
        for name, n in updates.items():
            done[name] = done[name] or (far[name] if self.each else all(far.values()))
            done[name] = done[name] or self.schedule.at(n) > self.ceiling
        if recording:
            for name, n in updates.items():
                more = {"ratio": ratio[name], "now": now[name], "done": done[name]}
                _record(view, name, worth[name], self.schedule.at(n), **more)


NEARLY = 1e-9
"""A tolerance: 1,000 times 1e-5 need not be 0.01 to the last bit."""
MOST = 1e30
"""A ratio, where nothing is left of what is chosen."""


def raises(schedule: Ramp, ceiling: float) -> int:
    """How many updates take a growing factor past its ceiling; at least 1."""
    return max(1, int((ceiling - schedule.start) / schedule.grow + 1))


def how_many(chosen: tuple[int, ...] | Tensor) -> int:
    """Units, or single weights, that are chosen."""
    return int(whole(chosen.sum())) if isinstance(chosen, Tensor) else len(chosen)


def parting(worth: Tensor, chosen: tuple[int, ...] | Tensor) -> tuple[float, float]:
    """Mean worth of what stays, and of what is chosen."""
    if is_sharded(worth):
        return _parted(worth, torch.as_tensor(chosen))
    gone = worth[chosen if isinstance(chosen, Tensor) else list(chosen)]
    kept = (worth.sum() - gone.sum()) / max(1, worth.numel() - gone.numel())
    return float(kept), float(gone.mean())


def _parted(worth: Tensor, chosen: Tensor) -> tuple[float, float]:
    """The same of single weights that lie on several ranks: every rank sums up its own."""
    number, total, gone = (float(whole(t.sum())) for t in (chosen, worth, torch.where(chosen, worth, 0.0)))
    return (total - gone) / max(1.0, worth.numel() - number), gone / number


def _deviation(norms: Tensor, mean: float) -> float:
    if is_sharded(norms):
        return math.sqrt(float(whole((norms - mean).square().sum())) / (norms.numel() - 1))
    return float(norms.std())


def _finite(name: str, kept: float, gone: float) -> tuple[float, float]:
    """The same two, unless training has gone wrong: what is no number would pass for parted."""
    if not math.isfinite(kept + gone):
        raise BadInput(
            f"the weights of {name!r} are not finite any more: go on from an earlier checkpoint with a smaller "
            "learning rate, or clip gradients"
        )
    return kept, gone


def _ratio(kept: float, gone: float) -> float:
    """What is kept over what is chosen."""
    return min(kept / gone, MOST) if gone > 0 else MOST


def _record(view: View, name: str, norms: Tensor, penalty: float, **more: object) -> None:
    """One row: the factor, and the norms of all units with their spread (standard deviation over mean)."""
    mean = float(whole(norms.mean()))
    spread = _deviation(norms, mean) / mean if norms.numel() > 1 and mean > 0 else 0.0
    # Single weights keep the shape of their tensor; there are too many to write down.
    each = {"norms": [float(v) for v in norms]} if norms.dim() == 1 else {}
    view.note(event="press", group=name, penalty=penalty, spread=spread, **each, **more)
