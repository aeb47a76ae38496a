"""Why each group keeps as many units as it does, as far as the target, the graph and a forecast can tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from niwaki.forecast import Forecast
from niwaki.forecast.likes import Likes, liked
from niwaki.graph import Graph
from niwaki.measure import RUNTIMES
from niwaki.methods import Method
from niwaki.recipes.telling import stopped
from niwaki.report import Blocked, Limit
from niwaki.surgery.decide import rounded
from niwaki.surgery.ladders import ladder
from niwaki.targets import Latency, Ratio, Target, count
from niwaki.units import Group, Plan

_NAMED = 4  # axes that are named for each reason
_JUST_ABOVE = 1e-6
_DEARER = 0.03  # a width that costs more by less than this share is not worth telling
Why = tuple[str, str]
"""A cause of :data:`niwaki.report.limits.CAUSES`, and a sentence."""


def target_of(method: Method) -> Target | None:
    """What its units are chosen by; None if it chooses none, or by more than one target."""
    found = {part.target for part in choosers(method)}
    return found.pop() if len(found) == 1 else None


def choosers(method: Method) -> list[Any]:
    """The parts that choose units, in the order of the method; none if it leaves zeros."""
    return [
        part
        for part in method.body.walk()
        if isinstance(getattr(part, "target", None), Target) and getattr(part, "of", "units") == "units"
    ]


def limits(graph: Graph, method: Method, plan: Plan, forecasts: Sequence[Forecast] = ()) -> list[Limit]:
    """For every group; none if the plan removes nothing. ``forecasts`` tell which widths a runtime likes."""
    if not plan.removed:
        return []
    target = target_of(method)
    gone = {name: len(choice.removed) for name, choice in plan.choices.items()}
    offered = {group.name for group in target.offers(graph.groups)} if target is not None else set()
    judge = _Judge(target, _level(graph, gone, offered))
    likes = [(RUNTIMES[one.place.runtime], liked(one)) for one in forecasts]
    return [_limit(group, judge, gone.get(group.name), group.name in offered, likes) for group in graph.groups]


def blocked(graph: Graph) -> list[Blocked]:
    """What cannot be cut, by reason, the biggest first."""
    return [
        Blocked(str(found[0][1]), [str(axis) for axis, _ in found[:_NAMED]], len(found), entries)
        for found, entries in stopped(graph)
    ]


def _limit(
    group: Group, judge: _Judge, gone: int | None, offered: bool, likes: Iterable[tuple[str, Mapping[str, Likes]]]
) -> Limit:
    cause, said = ("unknown", "") if gone is None else judge.why(group, gone, offered)
    kept = 0 if gone is None else len(group) - gone
    more = [_liked(runtime, found[group.name], kept) for runtime, found in likes if gone is not None]
    layers = list(dict.fromkeys(member.name.rpartition(".")[0] or member.name for member in group.makers))
    return Limit(group.name, cause, "; ".join(filter(None, [said, *more])), layers if len(layers) > 1 else ())


def _liked(runtime: str, likes: Likes, kept: int) -> str:
    if likes.multiple < 2 or likes.dearer < _DEARER:
        return ""
    if kept % likes.multiple == 0:
        return f"a multiple of {likes.multiple}, which {runtime} likes"
    return f"{runtime} likes multiples of {likes.multiple}: others cost up to {likes.dearer:.0%} more"


def _level(graph: Graph, gone: Mapping[str, int], offered: set[str]) -> float:
    """Where all groups give the same share, the least that it can have been: one unit less of the group that gives most
    would be a lower one."""
    shares = [(gone[g.name] - 1) / len(g) for g in graph.groups if g.name in offered and gone.get(g.name)]
    return max(shares, default=0.0) + _JUST_ABOVE


@dataclass(frozen=True)
class _Judge:
    """What the target wanted of a group, beside what it got. ``level``: the share that all groups give alike, for
    targets that do not say it."""

    target: Target | None
    level: float

    def why(self, group: Group, gone: int, offered: bool) -> Why:
        target = self.target
        if target is None:
            return "unknown", ""
        if not offered:
            return "left out", "the target takes nothing of it" if not gone else "though the target leaves it out"
        steps = _Steps.of(group, target)
        if isinstance(target, Latency) or target.scope == "global":
            return self._in_competition(group, gone, steps)
        return self._by_share(group, gone, steps)

    def _in_competition(self, group: Group, gone: int, steps: _Steps) -> Why:
        if gone and gone >= steps.free[-1]:
            return _at_the_end(group)
        if gone >= steps.rounded[-1]:
            return "rounding", f"no smaller multiple of {steps.multiple} units is left"
        if isinstance(self.target, Latency):
            return "latency", "what its units are worth, against the time that they take"
        return "competition", "its scores beside those of all other groups"

    def _by_share(self, group: Group, gone: int, steps: _Steps) -> Why:
        share = self.target.share_of(group.name) if isinstance(self.target, Ratio) else self.level
        wanted, size = count(share, len(group)), len(group)
        free, legal = _most(steps.free, wanted), _most(steps.rounded, wanted)
        said = f"{share:.0%} of its units" if isinstance(self.target, Ratio) else f"about {share:.0%}, as all groups"
        if gone > wanted:
            return "unknown", f"the target alone would leave {size - wanted}"
        if gone < legal:
            if isinstance(self.target, Ratio):
                return "unknown", f"the target alone would leave {size - legal}"
            return "budget", f"the target was met before it had to go on to {size - legal}"
        if legal < free:
            return "rounding", f"{size - free} by its share; units are left in multiples of {steps.multiple}"
        if free < wanted:
            return _short(group, size - wanted)
        if share * size > size - 1 + _JUST_ABOVE:
            return "one", "its share would leave none"
        return "share", said


@dataclass(frozen=True, eq=False)
class _Steps:
    """How many units of a group can go: by its own rules, and where widths are rounded; ascending, from 0 on."""

    free: np.ndarray
    rounded: np.ndarray
    multiple: int

    @staticmethod
    def of(group: Group, target: Target) -> _Steps:
        multiple, alike = rounded(group, target.round_to), np.zeros(len(group))
        free, legal = (np.append(0, ladder(group, alike, each).ends) for each in (1, multiple))
        return _Steps(free, legal, multiple)


def _most(ends: np.ndarray, wanted: int) -> int:
    return int(ends[np.searchsorted(ends, wanted, side="right") - 1])


def _at_the_end(group: Group) -> Why:
    """No more can go."""
    return ("least", f"{group.least} must stay") if group.least > 1 else ("one", "no smaller number is legal")


def _short(group: Group, wanted: int) -> Why:
    """Why its own rules let fewer go than were wanted."""
    if group.parts:
        return "balance", f"{wanted} by its share; its {group.part_count} parts must lose equally many"
    if group.multiple > 1:
        return "balance", f"{wanted} by its share; a kernel takes only multiples of {group.multiple}"
    return "least", f"{wanted} by its share; {group.least} must stay"


__all__ = ["blocked", "choosers", "limits", "target_of"]
