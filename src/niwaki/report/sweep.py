"""The page of a sweep: means over seeds in one table, fronts of the means, and every trial with its own page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from niwaki.wording import counted, some

from . import compare, pareto, phrase, table
from .canvas import colour
from .pareto import SHAPES, Network
from .pictures import Picture, drawn
from .schema import DENSE, Entry, Report, write
from .sections import Row
from .seeds import Family, Spread, behind, chosen, mean_entry, unjudged
from .table import Cell
from .templating import fill

__all__ = ["Failed", "Outcome", "render", "save", "summary"]

_LEVELS = {
    "S1": "the dense networks differ",
    "S2": "one dense network, other training afterwards",
    "S3.1": "one dense network, as many epochs of training afterwards",
    "S3.2": "one dense network, the same training afterwards; methods that press also train while they prune",
    "S4.2": "one dense network, the same training before and after the cut",
}


@dataclass(frozen=True)
class Failed:
    """A trial without a result: its name, how it ended, and the end of its log."""

    run: str
    ended: str
    said: str


@dataclass(frozen=True)
class Outcome:
    """All that the page tells.

    Attributes:
        dense: the dense network, with its times. weights: the beginning of its fingerprint.
        level: of comparison, as in :mod:`niwaki.report.fairness`. mixing: rules broken on purpose, and why.
        asked: how many trials the sweep has; those that neither failed nor are among the families are left to do.
        chosen_by: the function by which settings were chosen, if not by the accuracy that is reported.
        remarks: what else a reader must know.
    """

    title: str
    created: str
    command: str
    dense: Entry
    families: Sequence[Family]
    weights: str
    level: str
    asked: int
    failed: Sequence[Failed] = ()
    mixing: Mapping[str, str] = field(default_factory=dict)
    chosen_by: str | None = None
    remarks: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def means(self) -> Report:
        """The dense network and the means, as one report."""
        entries = [mean_entry(family, f"family-{i}") for i, family in enumerate(self.families)]
        return Report(self.title, self.created, self.command, {}, {}, [self.dense, *entries])

    @property
    def measure(self) -> str:
        """What is reported of every network: accuracy, or another measure."""
        return compare.measure(self.means.entries)

    @property
    def searched(self) -> bool:
        """Did any method have more than one setting to choose from?"""
        return len(chosen(self.families)) < len(self.families)

    @property
    def honest(self) -> bool:
        """Was every setting chosen by that function, and not by the figures that are reported?"""
        return self.chosen_by is not None and not unjudged(self.families)

    @property
    def apart(self) -> list[str]:
        """In what families differ though their method, target and setting do not: rules that are mixed, and keys of the
        recipe."""
        return list(dict.fromkeys([*self.mixing, *(what for family in self.families for what in family.mixed)]))

    @property
    def failing(self) -> list[str]:
        """Runs whose certificate does not hold."""
        seeds = [one for family in self.families for one in family.seeds]
        return list(dict.fromkeys(one.run for one in seeds if compare.verdict(one.entry) == "fails"))


def save(outcome: Outcome, path: str | os.PathLike[str]) -> Path:
    """Write the page and give its path.

    Raises:
        MissingExtra: there is something to draw and matplotlib is not installed.
    """
    return write(Path(path), render(outcome))


def render(outcome: Outcome) -> str:
    """The whole page as HTML. It needs nothing else, but for the links to the pages of the trials. Every string is
    escaped."""
    return fill(
        "sweep.html.j2",
        outcome=outcome,
        title=outcome.title,
        created=outcome.created,
        headline=_headline(outcome),
        level=_LEVELS[outcome.level],
        warnings=_warnings(outcome),
        columns=columns(outcome),
        rows=[Row(_network(outcome, i), "", cells) for i, cells in enumerate(rows(outcome))],
        methods=_methods(outcome),
        fronts=_fronts(outcome),
        searched=outcome.searched,
        trial_columns=trial_columns(outcome),
        trials=_trials(outcome),
        left=_left(outcome),
    )  # fmt: skip


def columns(outcome: Outcome) -> list[str]:
    """Headings of the table of means."""
    first, *rest = table.columns(outcome.means)
    apart = [f"{what} (mixed)" if what in outcome.mixing else what for what in outcome.apart]
    return [first, "target", *(["its setting"] if any(f.own for f in outcome.families) else []), *apart, "seeds", *rest]


def rows(outcome: Outcome) -> list[list[Cell]]:
    """Cells under :func:`columns`: the dense network, then every family."""
    dense, *means = table.rows(outcome.means)
    own, best = any(family.own for family in outcome.families), chosen(outcome.families)
    few = behind(outcome.families)
    blank = [Cell("—")] * (2 + own + len(outcome.apart))
    found = [[dense[0], *blank, *dense[1:]]]
    for i, (family, cells) in enumerate(zip(outcome.families, means, strict=True)):
        searched = any(one is not family and one.rivals == family.rivals for one in outcome.families)
        picked = ("chosen", "good") if searched and i in best else ("fewer seeds: not in the choice",) * (i in few)
        settings = [Cell(family.own or "—", *picked)] if own else []
        mixed = [Cell(family.mixed.get(what, "—")) for what in outcome.apart]
        numbers = [Cell(str(len(family.seeds))), _with_spread(cells[1], family.accuracy), *cells[2:]]
        found.append([Cell(family.method), Cell(family.target), *settings, *mixed, *numbers])
    return found


def summary(outcome: Outcome) -> Any:
    """The same as a table for the terminal, without memory and certificates."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(outcome.title))
    shown = [i for i, name in enumerate(columns(outcome)) if name not in ("activations", "peak memory", "certificate")]
    for i in shown:
        made.add_column(Text(columns(outcome)[i]), justify="right" if i else "left", overflow="fold")
    for cells in rows(outcome):
        made.add_row(*(Text(f"{cells[i].main} ({cells[i].aside})" if cells[i].aside else cells[i].main) for i in shown))
    return made


def _with_spread(cell: Cell, found: Spread | None) -> Cell:
    if found is None:
        return cell
    told = "one seed" if found.std is None else f"± {100 * found.std:.2f}"
    return Cell(cell.main, told, cell.tone, cell.aside)


def _methods(outcome: Outcome) -> list[tuple[Network, str]]:
    """One network of each method, and the method's name, for the key of the figures."""
    first: dict[str, int] = {}
    for i, family in enumerate(outcome.families):
        first.setdefault(family.method, i + 1)
    return [(_network(outcome, 0), outcome.dense.label), *((_network(outcome, i), name) for name, i in first.items())]


def _network(outcome: Outcome, number: int) -> Network:
    """The dense network, 0, or the mean of a family."""
    means = outcome.means
    entry = means.entries[number]
    if entry.name == DENSE:
        return Network("", means, entry, "ink", SHAPES[0], entry.label)
    family = outcome.families[number - 1]
    place = list(dict.fromkeys(one.method for one in outcome.families)).index(family.method)
    shape = SHAPES[place % len(SHAPES)]
    seeds = tuple(one.entry for one in family.seeds)
    return Network("", means, entry, colour(place), shape, _label(outcome, family), seeds)


def _label(outcome: Outcome, family: Family) -> str:
    """The name of a family in figures: without those parts of its target that all targets have."""
    targets = [set(one.target.split(", ")) for one in outcome.families]
    own = [part for part in family.target.split(", ") if part not in set.intersection(*targets)]
    return replace(family, target=", ".join(own)).label


def _fronts(outcome: Outcome) -> list[Picture]:
    """Accuracy against every cost: the dense network, and the chosen settings of every method at every target."""
    networks = [_network(outcome, i) for i in (0, *(i + 1 for i in sorted(chosen(outcome.families))))]
    why = "".join(f" Mixed {rule}: {label}." for rule, label in outcome.mixing.items())
    found = [(scale, pareto.picture(networks, scale)) for scale in pareto.scales(outcome.means)]
    return drawn(
        *(
            (svg, f"{phrase.leading(outcome.measure)} against {scale.name}, means over seeds.{why}")
            for scale, svg in found
        )
    )


def trial_columns(outcome: Outcome) -> list[str]:
    """Headings of the table of trials."""
    judged = ["chosen by"] if outcome.chosen_by else []
    return [
        "trial",
        "seed",
        outcome.measure,
        *judged,
        "MACs per sample",
        "parameters",
        "images before the cut",
        "images in all",
        "time",
    ]


def _trials(outcome: Outcome) -> list[tuple[str, str, Network, list[Cell]]]:
    """Name, link, mark and cells of every trial."""
    found = []
    for i, family in enumerate(outcome.families):
        for one in family.seeds:
            entry = one.entry
            cells = [
                Cell(str(one.seed)), Cell(_percent(entry.accuracy)),
                *([Cell(_percent(one.judged))] if outcome.chosen_by else []),
                Cell(phrase.count(entry.macs)), Cell(phrase.count(entry.params)),
                *(Cell(f"{images:,}") for images in one.images), Cell(f"{sum(entry.seconds.values()):,.0f} s"),
            ]  # fmt: skip
            found.append((one.run, one.link, _network(outcome, i + 1), cells))
    return found


def _percent(share: float | None) -> str:
    return "—" if share is None else phrase.percent(share, 2)


def _headline(outcome: Outcome) -> str:
    methods = counted(len({family.method for family in outcome.families}), "method")
    targets = counted(len({family.target for family in outcome.families}), "target")
    networks = counted(sum(len(family.seeds) for family in outcome.families), "network")
    dense = "dense networks that differ" if outcome.level == "S1" else "one dense network"
    return f"{methods} at {targets}: {networks} from {dense}{_lead(outcome)}."


def _lead(outcome: Outcome) -> str:
    """What was best of the chosen settings, if accuracy is known."""
    best = [outcome.families[i] for i in sorted(chosen(outcome.families))]
    known = [(family.accuracy.mean, family) for family in best if family.accuracy is not None]
    if not known:
        return ""
    mean, family = max(known, key=lambda pair: pair[0])
    return f"; the best mean is {phrase.reached(replace(outcome.dense, accuracy=mean))}, {_label(outcome, family)}"


def _left(outcome: Outcome) -> int:
    done = {one.link for family in outcome.families for one in family.seeds}  # one of a trial, not of each network
    return outcome.asked - len(done) - len(outcome.failed)


def _warnings(outcome: Outcome) -> list[str]:
    """What a reader must know before comparing."""
    said = [f"Mixed on purpose, {rule}: {label}" for rule, label in outcome.mixing.items()]
    sizes = {len(family.seeds) for family in outcome.families}
    if sizes == {1}:
        said.append("There is a single seed: differences may be chance. Take three at least.")
    elif min(sizes) < 3:
        said.append("There are rows of fewer than three seeds: differences may be chance. Take three at least.")
    if len(sizes) > 1:
        said.append("Not all rows are means of as many seeds.")
    return [*said, *(_choice(outcome) if outcome.searched else []), *outcome.remarks]


def _choice(outcome: Outcome) -> list[str]:
    """What is wrong with how settings were chosen."""
    missing, said = unjudged(outcome.families), []
    if outcome.chosen_by is not None and missing:
        said.append(
            f"{outcome.chosen_by}, with the arguments of now, has not judged {some(missing)}, which "
            "were run before it was asked for. It does not choose among settings that it has not all judged; "
            "remove the folders of these trials to run them anew."
        )
    marked = [i for i in chosen(outcome.families) if outcome.families[i].accuracy is not None]
    if not outcome.honest and not marked:
        said.append(
            f"No setting is marked as chosen: no {outcome.measure} is known. Let evaluate or choose_by name a function."
        )
    elif not outcome.honest:
        said.append(
            f"The settings marked as chosen are those of the highest {outcome.measure} in this very table: the more of "
            "them a method tried, the more its figure flatters it. Let choose_by name a function over other data."
        )
    return said
