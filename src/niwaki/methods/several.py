"""Parts made of parts: one after another, or side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from niwaki.methods.parts import Choose, Part
from niwaki.methods.view import NOTHING, Outcome, State, View


@dataclass(frozen=True)
class _Several(Part):
    """A part made of parts."""

    parts: tuple[Part, ...]

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return any(p.takes_time for p in self.parts)

    @property
    def updates(self) -> int:
        return sum(p.updates for p in self.parts)

    def walk(self) -> Iterator[Part]:
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Sequence(_Several):
    """One part after another."""

    @property
    def longest(self) -> int | None:
        each = [p.longest for p in self.parts]
        return None if None in each else sum(n for n in each if n is not None)

    @property
    def rounds(self) -> tuple[int, ...]:
        found = [0]
        for part in self.parts:
            first, *more = part.rounds or (0,)
            if isinstance(part, Choose) and found[-1]:
                found.append(0)
            found[-1] += first
            found += more
        return tuple(n for n in found if n)

    def begin(self, view: View) -> State:
        return {"index": 0, "inner": None}

    def step(self, state: State, view: View) -> Outcome:
        """Run parts that take no time until one does; that one gets this step."""
        orders = NOTHING
        while state["index"] < len(self.parts):
            part = self.parts[state["index"]]
            if orders != NOTHING and _looks(part):
                return Outcome(orders, again=True)
            if state["inner"] is None:
                state["inner"] = part.begin(view)
            outcome = part.step(state["inner"], view)
            orders += outcome.orders
            if outcome.again:
                return Outcome(orders, again=True)
            if outcome.over:
                state["index"], state["inner"] = state["index"] + 1, None
            if not outcome.over or part.takes_time or orders.cut:
                break
        return Outcome(orders, over=state["index"] >= len(self.parts))

    def settle(self, state: State, view: View) -> Outcome:
        """Run parts that take no time, up to the next one that does, or to a cut: the view must be made anew then."""
        orders = NOTHING
        while state["index"] < len(self.parts) and not orders.cut:
            part, begun = self.parts[state["index"]], state["inner"] is not None
            if part.takes_time and not begun:
                break
            if orders != NOTHING and _looks(part):
                return Outcome(orders, again=True)
            if not begun:
                state["inner"] = part.begin(view)
            outcome = (part.settle if part.takes_time else part.step)(state["inner"], view)
            orders += outcome.orders
            if outcome.again:
                return Outcome(orders, again=True)
            if not outcome.over:
                break
            state["index"], state["inner"] = state["index"] + 1, None
        over = state["index"] >= len(self.parts)
        return Outcome(orders, over=over, again=orders.cut and not over)


def _looks(part: Part) -> bool:
    """Does it look at what the model does? Then all that came before must have been carried out."""
    return any(each.needs for each in part.walk())


@dataclass(frozen=True)
class Together(_Several):
    """Several parts side by side, until all are over but those that only go along."""

    @property
    def longest(self) -> int | None:
        each = [p.longest for p in self.parts if not p.aside]
        return None if None in each else max((n for n in each if n is not None), default=0)

    @property
    def rounds(self) -> tuple[int, ...]:
        return max((p.rounds for p in self.parts if not p.aside), key=sum, default=())

    def begin(self, view: View) -> State:
        return {"inner": [p.begin(view) for p in self.parts], "over": [False] * len(self.parts), "at": 0}

    def step(self, state: State, view: View) -> Outcome:
        """``at``: the part that wants to be asked again in this step; those before it have had theirs."""
        orders = NOTHING
        for k, part in enumerate(self.parts):
            if k >= state["at"] and not state["over"][k]:
                outcome = part.step(state["inner"][k], view)
                orders += outcome.orders
                if outcome.again:
                    state["at"] = k
                    return Outcome(orders, again=True)
                state["over"][k] = outcome.over
        state["at"] = 0
        return Outcome(orders, over=self._over(state))

    def settle(self, state: State, view: View) -> Outcome:
        orders, again = NOTHING, False
        for k, part in enumerate(self.parts):
            if not state["over"][k]:
                outcome = part.settle(state["inner"][k], view)
                orders, again = orders + outcome.orders, again or outcome.again
                state["over"][k] = outcome.over
        return Outcome(orders, over=self._over(state), again=again)

    def _over(self, state: State) -> bool:
        return all(over or part.aside for over, part in zip(state["over"], self.parts, strict=True))


def sequence(*parts: Part) -> Sequence:
    """One part after another."""
    return Sequence(tuple(parts))


def together(*parts: Part) -> Together:
    """Several parts side by side."""
    return Together(tuple(parts))
