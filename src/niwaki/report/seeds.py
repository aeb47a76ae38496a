"""Networks that differ in nothing but their seed, taken together: means, and how far the seeds lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import compare
from .schema import Entry, Latency, Report

__all__ = [
    "Family", "Seeded", "Spread", "behind", "chosen", "mean_entry", "spread", "training_images", "unjudged"
]  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """The mean of ``n`` values, and their standard deviation (with n - 1); None of a single one."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Seeded:
    """The network of one seed: the name of its run, the address of that run's page, and what is known of it.

    ``images``: how many images it was trained on before the cut, and in all; ``judged``: its share of right answers by
    the function for the choice of settings, if there is one.
    """

    run: str
    link: str
    seed: int
    entry: Entry
    images: tuple[int, int] = (0, 0)
    judged: float | None = None


@dataclass(frozen=True)
class Family:
    """The networks of a method at one target and one setting of its own, over the seeds.

    ``own``: that setting, in words; ``mixed``: what these networks have of that in which others differ from them, by
    the rule of a fair comparison that is broken on purpose, or as "recipe".
    """

    method: str
    target: str
    own: str
    seeds: Sequence[Seeded]
    mixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def rivals(self) -> tuple[Any, ...]:
        """Families of which this is the same are settings of one method, of which one is chosen."""
        return (self.method, self.target, tuple(self.mixed.items()))

    @property
    def label(self) -> str:
        """Its name in figures."""
        return ", ".join(dict.fromkeys(filter(None, [self.method, self.target, self.own, *self.mixed.values()])))

    @property
    def accuracy(self) -> Spread | None:
        """None if it was not measured."""
        return spread([one.entry.accuracy for one in self.seeds])

    @property
    def judged(self) -> Spread | None:
        """By the function for the choice of settings."""
        return spread([one.judged for one in self.seeds])


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of values that are all known."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def chosen(families: Sequence[Family]) -> set[int]:
    """The places, among the families, of the settings that are the best of each method at each target: by the function
    for the choice where all have its word, and otherwise by the accuracy that is reported; the first of equals.

    Only settings with as many seeds as any of their rivals compete: a mean of fewer is the luckier, or of those seeds
    that did not crash. Of rivals of which no figure is known none is chosen; what has no rival needs no choice.
    """
    best = (_best(families, group) for group in _groups(families))
    return {place for place in best if place is not None}


def behind(families: Sequence[Family]) -> set[int]:
    """The places of settings that do not compete, since a rival has more seeds."""
    return {
        i for group in _groups(families) for i in group if len(families[i].seeds) < _most(families[j] for j in group)
    }


def unjudged(families: Sequence[Family]) -> list[str]:
    """Runs without a word of the function for the choice, of settings that have rivals: there it does not decide."""
    rivals = [families[i] for group in _groups(families) if len(group) > 1 for i in group]
    return list(dict.fromkeys(one.run for family in rivals for one in family.seeds if one.judged is None))


def _groups(families: Sequence[Family]) -> list[list[int]]:
    """The places of rivals, together."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, one in enumerate(families):
        groups.setdefault(one.rivals, []).append(i)
    return list(groups.values())


def _most(families: Iterable[Family]) -> int:
    return max(len(one.seeds) for one in families)


def _best(families: Sequence[Family], places: Sequence[int]) -> int | None:
    if len(places) == 1:
        return places[0]
    judged = all(families[i].judged is not None for i in places)
    figures = {i: families[i].judged if judged else families[i].accuracy for i in places}
    most = _most(families[i] for i in places)
    known = {i: f.mean for i, f in figures.items() if f is not None and len(families[i].seeds) == most}
    return max(known, key=lambda i: known[i], default=None)


def mean_entry(family: Family, name: str) -> Entry:
    """An entry of the means; times lie apart by the deviation between seeds, once to either side of the mean, and at
    least as far as those of one network do."""
    entries = [one.entry for one in family.seeds]
    first, accuracy = entries[0], family.accuracy
    return replace(
        first, name=name, label=family.label,
        accuracy=None if accuracy is None else accuracy.mean,
        macs=_mean(entries, "macs"), params=_mean(entries, "params"), file_bytes=_mean(entries, "file_bytes"),
        activation_bytes=_mean(entries, "activation_bytes"), peak_bytes=_mean(entries, "peak_bytes"),
        latency=[found for timing in first.latency if (found := _mean_latency(entries, timing)) is not None],
        certificate=_joint(entries), notes=(), forecast=(), limits=(), widths={}, weights=None, seconds={},
    )  # fmt: skip


def training_images(report: Report, entry: Entry) -> tuple[int, int]:
    """Images that a network was trained on before its cut, and in all."""
    points = [point for point in report.curve if point.entry == entry.name]
    before = [point.images for point in points if point.phase != "finetune"]
    return max(before, default=0), max((point.images for point in points), default=0)


def _mean(entries: Sequence[Entry], what: str) -> Any:
    found = spread([getattr(entry, what) for entry in entries])
    return None if found is None else round(found.mean)


def _mean_latency(entries: Sequence[Entry], timing: Latency) -> Latency | None:
    found = spread([compare.latency(entry, timing.setting) for entry in entries])
    if found is None:
        return None
    alike = [t for entry in entries for t in entry.latency if t.setting == timing.setting]
    apart = max(2 * (found.std or 0.0), statistics.fmean(t.spread_ms for t in alike))
    return replace(timing, median_ms=found.mean, min_ms=min(t.min_ms for t in alike), spread_ms=apart)


def _joint(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """A certificate that holds if all do."""
    states = [compare.verdict(entry) for entry in entries]
    if "none" in states and "fails" not in states:
        return None
    checks = [check for entry in entries if entry.certificate is not None for check in entry.certificate["checks"]]
    return {"holds": "fails" not in states, "checks": checks}
