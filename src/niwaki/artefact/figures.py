"""Measurements as rows of a table, and in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from niwaki.artefact.measurements import Measured, Measurements
from niwaki.report import Latency
from niwaki.report.phrase import bytes_, count, listing, milliseconds, percent, times
from niwaki.wording import counted

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Figure:
    """A field of :class:`Measured`: what tables call it, and how its values are written."""

    field: str
    title: str
    shown: Callable[[Any], str]
    compared: bool = True


FIGURES = (
    Figure("parameters", "parameters", count),
    Figure("nonzero_parameters", "of these not zero", count),
    Figure("macs", "multiply-adds of one sample", count),
    Figure("file_bytes", "file of weights", bytes_),
    Figure("activation_bytes", "activations", bytes_),
    Figure("peak_bytes", "peak memory", bytes_),
    Figure("accuracy", "accuracy", percent, False),
)


def figures(found: Measurements | None) -> list[Row]:
    """What, before, after, and how many times; only of what was measured."""
    if found is None:
        return []
    before = found.before or Measured()
    return [*_counts(before, found.after), *_latencies(before, found.after)]


def headline(found: Measurements | None) -> str:
    """What is smaller and faster by how much, or nothing where only one side is known."""
    if found is None or found.before is None:
        return ""
    before, after = found.before, found.after
    pairs = [(after.parameters, before.parameters, "parameters"), (after.macs, before.macs, "multiply-adds")]
    told = [f"{times(a / b)} the {what}" for a, b, what in pairs if a is not None and b]
    told += [f"{times(a / b)} the time in {name}" for name, b, a in _timed(before, after) if a is not None and b]
    return f"{listing(told)} of the dense network" if told else ""


def _counts(before: Measured, after: Measured) -> Iterator[Row]:
    for each in FIGURES:
        old, new = getattr(before, each.field), getattr(after, each.field)
        if each.field == "nonzero_parameters" and (old, new) == (before.parameters, after.parameters):
            continue  # dense networks both: it would say the same once more
        if old is not None or new is not None:
            ratio = times(new / old) if each.compared and old and new is not None else ""
            yield _title(each, after), *("" if n is None else each.shown(n) for n in (old, new)), ratio


def _title(figure: Figure, of: Measured) -> str:
    return of.accuracy_is if figure.field == "accuracy" and of.accuracy_is else figure.title


def _latencies(before: Measured, after: Measured) -> Iterator[Row]:
    for name, old, new in _timed(before, after):
        ratio = times(new / old) if old and new else ""
        yield f"time in {name}", *("" if t is None else milliseconds(t) for t in (old, new)), ratio


def _timed(before: Measured, after: Measured) -> Iterator[tuple[str, float | None, float | None]]:
    """Medians of the same setting."""
    old, new = ({t.setting: t for t in side.latency} for side in (before, after))
    for setting in dict.fromkeys([*old, *new]):
        either = new.get(setting) or old[setting]
        before_ms, after_ms = (side[setting].median_ms if setting in side else None for side in (old, new))
        yield _setting(either), before_ms, after_ms


def _setting(timing: Latency) -> str:
    return f"{timing.runtime} ({counted(timing.threads, 'thread')}, batch of {timing.batch})"


__all__ = ["FIGURES", "Row", "figures", "headline"]
