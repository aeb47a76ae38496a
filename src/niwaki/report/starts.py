"""Whether several runs began with the same network and were judged alike: if not, their results say less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from niwaki.errors import BadInput

from . import phrase
from .fairness import Start, mixtures
from .schema import Entry, Report

__all__ = ["differences", "doubts", "require_alike"]

_TOLD = {
    "data": "The runs do not learn from the same data: {}.",
    "retraining": "The runs do not train their networks alike: {}.",
    "evaluation": "The runs do not judge their networks alike: their recipes differ in how they evaluate: {}.",
    "measuring": "The runs do not measure their networks on the same inputs: {}.",
}
_PLACE = ("system", "machine", "processor", "cores", "gpu", "torch", "niwaki")
_SAME = 5e-4  # two accuracies that differ by less are the same figure, rounded otherwise


def differences(reports: Mapping[str, Report]) -> list[str]:
    """Warnings, in sentences: other weights at the start, another training, other ways to judge."""
    said = []
    if _differ(reports):
        each = [f"{run} with {_start(report.dense)}" for run, report in reports.items()]
        said.append(
            f"The runs do not begin with the same dense network: {phrase.listing(each)}. What lies between their "
            "results may lie between their beginnings. Compare each with the dense network of its own run."
        )
    known = {run: Start(report.settings) for run, report in reports.items()}
    return said + [_TOLD[one.rule].format(one) for one in mixtures(known, tuple(_TOLD))]


def require_alike(reports: Mapping[str, Report], mixed: str) -> None:
    """Refuse to show runs side by side that are not alike, unless the mixture is asked for, in words.

    Raises:
        BadInput: they are not; the message says in what.
    """
    said = differences(reports)
    if said and not mixed.strip():
        raise BadInput(
            f"{' '.join(said)} To show them on one page all the same, say why: --mixed 'two dense networks, on purpose'"
        )


def doubts(reports: Mapping[str, Report]) -> list[str]:
    """What a reader should know, too, though nothing is known to be wrong."""
    said = []
    unknown = [run for run, report in reports.items() if report.dense is None or report.dense.weights is None]
    if unknown and not _differ(reports):
        said.append(
            f"Whether all runs began with the same weights is not known: {phrase.listing(unknown)} did not say."
        )
    if len({_place(report) for report in reports.values() if report.environment}) > 1:
        said.append("The runs come from different machines or versions: their times cannot be compared across runs.")
    return said


def _differ(reports: Mapping[str, Report]) -> bool:
    """Other weights where they are known of all, and otherwise another accuracy or size, too."""
    dense = [report.dense for report in reports.values() if report.dense is not None]
    known = {entry.weights for entry in dense if entry.weights is not None}
    if len(dense) == len(reports) and all(entry.weights is not None for entry in dense):
        return len(known) > 1  # what they were judged or measured on has rules of its own
    sizes = {(entry.macs, entry.params) for entry in dense}
    right = [entry.accuracy for entry in dense if entry.accuracy is not None]
    return len(known) > 1 or len(sizes) > 1 or (bool(right) and max(right) - min(right) > _SAME)


def _start(dense: Entry | None) -> str:
    if dense is None:
        return "none that is known"
    accuracy = "" if dense.accuracy is None else f"{phrase.reached(dense, 2)} and "
    weights = "" if dense.weights is None else f", weights {dense.weights[:8]}"
    return f"{accuracy}{phrase.count(dense.params)} parameters{weights}"


def _place(report: Report) -> tuple[Any, ...]:
    return tuple(str(report.environment.get(key)) for key in _PLACE)
