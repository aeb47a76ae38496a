"""The parts that methods are made of. Each is a frozen value; its state is a plain dict that survives a checkpoint.

A part takes time (``press``, ``hold``, ``wait``: one step of the optimizer at a time) or none (``choose``, ``mask``,
``cut``). ``step`` is asked once per optimizer step, before it; a part that takes no time is over at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.view import NOTHING, Orders, Outcome, State, View
from niwaki.penalties import Penalty, Ridge
from niwaki.schedules import Constant, Ramp, Schedule, above_zero
from niwaki.scores import L1, Score
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class Part:
    """Base of all parts."""

    takes_time: ClassVar[bool] = False

    def begin(self, view: View) -> State:
        """The state at the start of the part."""
        return {}

    def step(self, state: State, view: View) -> Outcome:
        """Update ``state`` in place and say what is to be done in this step."""
        raise NotImplementedError

    def walk(self) -> Iterator[Part]:
        """This part and all parts inside it."""
        yield self


@dataclass(frozen=True)
class Choose(Part):
    """Score all units now and choose those that must go to reach the target."""

    score: Score = field(default_factory=L1)
    target: Target = field(default_factory=Ratio)

    def __post_init__(self) -> None:
        if not isinstance(self.target, Target):
            raise BadInput(f"a target is nk.Ratio, nk.Macs or nk.Params of a share, not {self.target!r}")
        if not callable(self.score):
            raise BadInput(f"a score is a value such as nk.scores.L1(), not {self.score!r}")

    def step(self, state: State, view: View) -> Outcome:
        view.chosen = dict(view.select(view.worth(self.score), self.target))
        view.note(event="choose", chosen={name: list(units) for name, units in view.chosen.items()})
        return Outcome(over=True)


@dataclass(frozen=True)
class Mask(Part):
    """Zero the chosen units now and keep them zero."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(mask=True), over=True)


@dataclass(frozen=True)
class Cut(Part):
    """Remove the chosen units, really."""

    def step(self, state: State, view: View) -> Outcome:
        return Outcome(Orders(cut=True), over=True)


@dataclass(frozen=True)
class Wait(Part):
    """Train on for so many steps."""

    steps: int
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _at_least(self.steps, 1, "steps")

    def begin(self, view: View) -> State:
        return {"step": 0}

    def step(self, state: State, view: View) -> Outcome:
        state["step"] += 1
        return Outcome(over=state["step"] >= self.steps)


@dataclass(frozen=True)
class Press(Part):
    """Press the chosen units with a growing penalty until they have parted from the kept ones.

    Every group has its own factor. A group is done, and its factor frozen, when the factor passes ``ceiling``, or when
    in *all* groups the mean weight of the kept units is ``parted`` times that of the chosen ones (both as moving
    averages over updates, 0.9 old and 0.1 new). The part is over when all groups are done.
    """

    penalty: Penalty = field(default_factory=Ridge)
    schedule: Schedule = field(default_factory=lambda: Ramp(1e-4, 10))
    ceiling: float = 1.0
    parted: float | None = 1000.0
    takes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        above_zero(self.ceiling, "ceiling")
        if self.parted is not None:
            above_zero(self.parted, "parted")
        elif isinstance(self.schedule, Constant) and self.schedule.value <= self.ceiling:
            raise BadInput("a constant schedule at or below the ceiling never ends: set parted, or use hold")

    def begin(self, view: View) -> State:
        names = [name for name, units in view.chosen.items() if units]
        return {
            "step": 0,
            "updates": dict.fromkeys(names, 0),
            "ratio": {},
            "done": dict.fromkeys(names, False),
        }

    def step(self, state: State, view: View) -> Outcome:
        if self.schedule.updates(state["step"]):
            self._update(state, view)
        state["step"] += 1
        view.pressure = {name: self.schedule.at(n) for name, n in state["updates"].items()}
        return Outcome(Orders(press=((self.penalty, view.pressure),)), over=all(state["done"].values()))

    def _update(self, state: State, view: View) -> None:
        """Raise the factors of the groups that are not done, then see which are."""
        worth = view.worth(L1())
        updates, ratio, done = state["updates"], state["ratio"], state["done"]
        for name in updates:
            kept, gone = parting(worth[name], view.chosen[name])
            now = kept / gone if gone > 0 else float("inf")
            ratio[name] = min(now if name not in ratio else 0.9 * ratio[name] + 0.1 * now, 1e30)
            updates[name] += not done[name]
        far = self.parted is not None and all(r >= self.parted for r in ratio.values())
        for name, n in updates.items():
            done[name] = done[name] or far or self.schedule.at(n) > self.ceiling
        if view.recording:
            _record(view, worth, state, self.schedule)


def parting(worth: Tensor, chosen: tuple[int, ...]) -> tuple[float, float]:
    """Mean worth of the units that stay, and of those that are chosen."""
    gone = worth[list(chosen)]
    kept = (worth.sum() - gone.sum()) / max(1, worth.numel() - gone.numel())
    return float(kept), float(gone.mean())


def _record(view: View, worth: Mapping[str, Tensor], state: State, schedule: Schedule) -> None:
    for name, n in state["updates"].items():
        norms = worth[name]
        spread = float(norms.std() / norms.mean()) if norms.numel() > 1 and float(norms.mean()) > 0 else 0.0
        view.note(
            event="press",
            group=name,
            penalty=schedule.at(n),
            ratio=state["ratio"][name],
            spread=spread,
            norms=[float(v) for v in norms],
            done=state["done"][name],
        )


@dataclass(frozen=True)
class Hold(Part):
    """Keep the pressure where it is for so many steps."""

    steps: int
    penalty: Penalty = field(default_factory=Ridge)

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.steps > 0

    def __post_init__(self) -> None:
        _at_least(self.steps, 0, "steps of hold")

    def begin(self, view: View) -> State:
        return {"step": 0, "pressure": dict(view.pressure)}

    def step(self, state: State, view: View) -> Outcome:
        if self.steps == 0:
            return Outcome(over=True)
        state["step"] += 1
        view.pressure = dict(state["pressure"])
        return Outcome(Orders(press=((self.penalty, view.pressure),)), over=state["step"] >= self.steps)


@dataclass(frozen=True)
class _Several(Part):
    """A part made of parts."""

    parts: tuple[Part, ...]

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return any(p.takes_time for p in self.parts)

    def walk(self) -> Iterator[Part]:
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Sequence(_Several):
    """One part after another."""

    def begin(self, view: View) -> State:
        return {"index": 0, "inner": None}

    def step(self, state: State, view: View) -> Outcome:
        """Run parts that take no time until one does; that one gets this step."""
        orders = NOTHING
        while state["index"] < len(self.parts):
            part = self.parts[state["index"]]
            if state["inner"] is None:
                state["inner"] = part.begin(view)
            outcome = part.step(state["inner"], view)
            orders += outcome.orders
            if outcome.over:
                state["index"], state["inner"] = state["index"] + 1, None
            if not outcome.over or part.takes_time or orders.cut:
                break
        return Outcome(orders, over=state["index"] >= len(self.parts))


@dataclass(frozen=True)
class Together(_Several):
    """Several parts side by side, until all are over."""

    def begin(self, view: View) -> State:
        return {"inner": [p.begin(view) for p in self.parts], "over": [False] * len(self.parts)}

    def step(self, state: State, view: View) -> Outcome:
        orders = NOTHING
        for k, part in enumerate(self.parts):
            if not state["over"][k]:
                outcome = part.step(state["inner"][k], view)
                orders += outcome.orders
                state["over"][k] = outcome.over
        return Outcome(orders, over=all(state["over"]))


def sequence(*parts: Part) -> Sequence:
    """One part after another."""
    return Sequence(tuple(parts))


def together(*parts: Part) -> Together:
    """Several parts side by side."""
    return Together(tuple(parts))


def _at_least(value: object, least: int, what: str) -> None:
    if type(value) is not int or value < least:
        raise BadInput(f"{what} must be a whole number of at least {least}, not {value!r}")
