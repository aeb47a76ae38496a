"""Several reports on one page: all networks in one table, the patterns of their runs side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from niwaki.errors import BadInput
from niwaki.replacing import made

from . import compare, heat, phrase, starts
from .pareto import networks_of
from .patterns import Run
from .pictures import Picture, drawn, over_rounds
from .schema import Report, write
from .sections import common
from .templating import fill
from .thin import evenly

__all__ = ["render", "runs_of", "save", "short_names"]

_MOST_RUNS = 6  # as many as there are colours
_MAPS, _ROWS, _FILMED = 12, 3, 3  # matrices; rows per figure; matrices shown over the rounds
_UNEVEN = 0.005  # of all weights: from here on two sparsities are not the same


def short_names(folders: Sequence[str | os.PathLike[str]]) -> list[str]:
    """A name for each folder: its own, with as many of those above it as it takes to tell them apart."""
    paths = [Path(folder).resolve().parts for folder in folders]
    return ["/".join(path[-_deep(path, set(paths) - {path}) :]) for path in paths]


def _deep(path: tuple[str, ...], others: set[tuple[str, ...]]) -> int:
    """How many of its last parts tell a path from others."""
    return next((d for d in range(1, len(path)) if all(path[-d:] != other[-d:] for other in others)), len(path))


def save(reports: Mapping[str, Report], path: str | os.PathLike[str], mixed: str = "") -> Path:
    """Write the page of reports, by the names of their runs, and return its path; folders are made if absent.

    Args:
        mixed: why runs that are not alike (other dense networks, another training) are shown together.

    Raises:
        BadInput: there are fewer than two, or they are not alike and ``mixed`` does not say why.
        MissingExtra: there is something to draw and matplotlib is not installed.
    """
    html = render(reports, mixed)
    made(Path(path).parent)
    return write(Path(path), html)


def render(reports: Mapping[str, Report], mixed: str = "") -> str:
    """The whole page as HTML; it needs nothing else. Every string of the reports is escaped.

    Raises:
        BadInput: as :func:`save`.
    """
    if len(reports) < 2:
        raise BadInput(f"to compare takes two reports at least, not {len(reports)}")
    starts.require_alike(reports, mixed)
    runs = runs_of(reports)
    names = _in_all(runs)
    return fill(
        "together.html.j2",
        title=f"{phrase.listing(list(reports))}, side by side",
        created="",
        headline=phrase.beside(runs) if all(one.patterns for one in reports.values()) else _counted(reports),
        warnings=starts.differences(reports),
        doubts=starts.doubts(reports),
        mixed=mixed,
        over_rounds=over_rounds(runs),
        remarks=_remarks(reports, runs),
        maps=_maps(runs, names) if len(runs) > 1 else [],
        key=heat.KEY,
        names=phrase.listing(list(reports)),
        **common(reports),
    )


def runs_of(reports: Mapping[str, Report]) -> list[Run]:
    """The runs with patterns, at most six; where two entries have the same label, with the names of their runs."""
    networks = {(one.run, one.entry.name): one for one in networks_of(reports)}
    shown = [(networks[name, told.entry], told) for name, report in reports.items() for told in report.patterns]
    return [Run(one.label, one.colour, told) for one, told in shown[:_MOST_RUNS]]


def _counted(reports: Mapping[str, Report]) -> str:
    count = sum(len(compare.pruned(report)) for report in reports.values())
    return f"{count} pruned {'network' if count == 1 else 'networks'} of {len(reports)} runs"


def _in_all(runs: Sequence[Run]) -> list[str]:
    """Matrices of which every run has a heat map at its end."""
    first = runs[0].patterns.mapped if runs else []
    return [name for name in first if all(name in run.patterns.mapped for run in runs)]


def _maps(runs: Sequence[Run], names: Sequence[str]) -> list[Picture]:
    """The same matrices of all runs beside each other, and the rounds of a few below each other."""
    names, titles = evenly(names, _MAPS), heat.shortened(names)
    parts = [names[i : i + _ROWS] for i in range(0, len(names), _ROWS)]
    filmed = [name for name in names if all(len(run.patterns.frames(name)) > 1 for run in runs)]
    return drawn(
        *((heat.side_by_side(runs, part, titles), "") for part in parts),
        *(
            (heat.frames_side_by_side(runs, name), f"{titles[name]} after the rounds.")
            for name in evenly(filmed, _FILMED)
        ),
    )


def _remarks(reports: Mapping[str, Report], runs: Sequence[Run]) -> list[str]:
    """What a reader must know before comparing."""
    said = []
    ends = [run.patterns.last.together.sparsity for run in runs]
    if ends and max(ends) - min(ends) > _UNEVEN:
        said.append(
            "The runs end at different sparsities. The sparser a mask is, the more unequal its rows and columns are by "
            "chance alone: compare the lines at the same sparsity, and each with its dashed line."
        )
    every = list(dict.fromkeys(name for run in runs for name in run.patterns.names))
    some = [name for name in every if not all(name in run.patterns.names for run in runs)]
    if some:
        rest = [f"{len(some) - 3} more"] * (len(some) > 3)
        said.append(f"Not in every run, and so in no map: {phrase.listing(some[:3] + rest)}.")
    more = sum(len(report.patterns) for report in reports.values()) - len(runs)
    if more > 0:
        said.append(f"Of the runs with patterns the first {len(runs)} are shown; {more} more have pages of their own.")
    return said
