"""What a report says: frozen records of measured facts, written to disk and read back without loss.

Nothing here measures, draws or loads a heavy library; whoever holds the numbers fills these records in.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from niwaki.replacing import made, replacing

from .checks import freeze, not_negative, positive, share, unique
from .codec import LATER, Record, ReportError
from .limits import Blocked, Limit
from .patterns import PatternRound, Patterns

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "ACCURACY",
    "DENSE",
    "VERSION",
    "Blocked",
    "Entry",
    "Foretold",
    "GroupParting",
    "Latency",
    "Limit",
    "Parting",
    "PatternRound",
    "Patterns",
    "Phase",
    "Point",
    "Report",
    "ReportError",
    "Trace",
]

DENSE = "dense"
ACCURACY = "accuracy"
VERSION = 1
_CHECK_KEYS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "against": (str,),
    "kind": (str,),
    "worst": (int, float, type(None)),
    "tolerance": (int, float, type(None)),
    "holds": (bool,),
    "detail": (str,),
}


@dataclass(frozen=True)
class Latency(Record):
    """Measured time of one forward pass, in milliseconds, in one runtime.

    `spread_ms` is the width of the middle half of the runs (the interquartile range).
    """

    runtime: str
    threads: int
    batch: int
    median_ms: float
    min_ms: float
    spread_ms: float
    runs: int

    def __post_init__(self) -> None:
        positive(self, "threads", "batch", "median_ms", "min_ms", "runs")
        not_negative(self, "spread_ms")

    @property
    def setting(self) -> tuple[str, int, int]:
        """(runtime, threads, batch): only times of the same setting may be compared."""
        return (self.runtime, self.threads, self.batch)


@dataclass(frozen=True)
class Foretold(Record):
    """The time of one forward pass in milliseconds as it was forecast, in the setting of a :class:`Latency`.

    Of the dense network it is what was measured while the forecast was made.
    """

    runtime: str
    threads: int
    batch: int
    ms: float

    def __post_init__(self) -> None:
        positive(self, "threads", "batch", "ms")

    @property
    def setting(self) -> tuple[str, int, int]:
        """(runtime, threads, batch), as of a :class:`Latency`."""
        return (self.runtime, self.threads, self.batch)


@dataclass(frozen=True)
class Entry(Record):
    """One network: the dense one (its name is "dense") or what a method made of it.

    `accuracy` is a share in [0, 1], of what `measure` names; `widths` maps a group's name to its number of units;
    `seconds` maps a phase to its wall time. `certificate` has at least `holds` (bool) and `checks`: a list of dicts
    with `name`, `against`, `kind` ("forward" or "gradient"), `worst`, `tolerance`, `holds` and `detail`; `worst` is
    None where the outputs were not finite. `activation_bytes` are the results that are alive at once, at most, in
    one forward pass of the whole batch; `peak_bytes` are those with weights and inputs. `limits` say what kept each
    group from another width. `weights` is a fingerprint of the weights: runs with the same one began alike.
    """

    name: str
    label: str
    method: dict[str, Any] | None
    accuracy: float | None
    macs: int
    params: int
    file_bytes: int
    latency: Sequence[Latency] = ()
    widths: dict[str, int] = field(default_factory=dict)
    certificate: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    activation_bytes: int | None = field(default=None, metadata=LATER)
    peak_bytes: int | None = field(default=None, metadata=LATER)
    forecast: Sequence[Foretold] = field(default=(), metadata=LATER)
    limits: Sequence[Limit] = field(default=(), metadata=LATER)
    weights: str | None = field(default=None, metadata=LATER)
    measure: str = field(default=ACCURACY, metadata=LATER)

    def __post_init__(self) -> None:
        freeze(self, "latency", "notes", "forecast", "limits")
        not_negative(self, "macs", "params", "file_bytes")
        not_negative(self, *(name for name in ("activation_bytes", "peak_bytes") if getattr(self, name) is not None))
        share(self, "accuracy")
        unique(f"entry {self.name!r}: latency", [timing.setting for timing in self.latency])
        unique(f"entry {self.name!r}: forecast", [told.setting for told in self.forecast])
        unique(f"entry {self.name!r}: limits", [limit.group for limit in self.limits])
        if self.certificate is not None:
            _check_certificate(self.name, self.certificate)


@dataclass(frozen=True)
class Trace(Record):
    """The norms of one group's units while a penalty grows.

    `norms[i]` holds one norm per unit at step `steps[i]`, where the penalty was `penalty[i]`; `chosen` are
    the indices of the units that are being pushed out.
    """

    entry: str
    group: str
    steps: Sequence[int]
    penalty: Sequence[float]
    norms: Sequence[Sequence[float]]
    chosen: Sequence[int]

    def __post_init__(self) -> None:
        freeze(self, "steps", "penalty", "norms", "chosen")
        object.__setattr__(self, "norms", tuple(tuple(row) for row in self.norms))
        where = f"trace of {self.group!r}"
        if not len(self.steps) == len(self.penalty) == len(self.norms):
            lengths = f"{len(self.steps)}, {len(self.penalty)} and {len(self.norms)}"
            raise ReportError(f"{where}: steps, penalty and norms must be equally long, not {lengths}")
        units = {len(row) for row in self.norms}
        if len(units) > 1:
            raise ReportError(f"{where}: every row of norms must have one value per unit, found {sorted(units)}")
        outside = [unit for unit in self.chosen if not 0 <= unit < max(units, default=0)]
        if outside:
            raise ReportError(f"{where}: chosen unit {outside[0]} does not exist among {max(units, default=0)} units")


@dataclass(frozen=True)
class Phase(Record):
    """A part of a method and the optimizer step at which it began."""

    name: str
    step: int

    def __post_init__(self) -> None:
        not_negative(self, "step")


@dataclass(frozen=True)
class GroupParting(Record):
    """How the units of one group part while a penalty grows, one value per recorded step.

    `spread` is the standard deviation of the units' norms over their mean; `ratio` how many times the mean of the
    kept units is that of the chosen ones, None while all are pressed alike. `at_cut` is that ratio when the units went.
    """

    group: str
    steps: Sequence[int]
    penalty: Sequence[float]
    spread: Sequence[float]
    ratio: Sequence[float | None]
    at_cut: float | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        freeze(self, "steps", "penalty", "spread", "ratio")
        lengths = [len(self.steps), len(self.penalty), len(self.spread), len(self.ratio)]
        if len(set(lengths)) > 1:
            raise ReportError(f"parting of {self.group!r}: all series must be equally long, not {lengths}")


@dataclass(frozen=True)
class Parting(Record):
    """How all groups of one entry part, in the network's order, and the phases of the method that makes them.

    `parted` is the ratio at which the method needs to press no further. A phase named "cut" is the end.
    """

    entry: str
    phases: Sequence[Phase]
    groups: Sequence[GroupParting]
    parted: float | None = None

    def __post_init__(self) -> None:
        freeze(self, "phases", "groups")
        unique(f"parting of entry {self.entry!r}: groups", [one.group for one in self.groups])
        if self.parted is not None:
            positive(self, "parted")

    @property
    def stages(self) -> list[tuple[str, float]]:
        """(name, first step) of the phases that last."""
        return [(phase.name, float(phase.step)) for phase in self.phases if phase.name != "cut"]

    @property
    def end(self) -> int:
        """The last step of which anything is known."""
        return max([phase.step for phase in self.phases] + [step for one in self.groups for step in one.steps[-1:]])

    @property
    def picked(self) -> float | None:
        """The penalty at which units were picked, if all were pressed before and the picked ones after."""
        points = [pair for one in self.groups for pair in zip(one.penalty, one.ratio, strict=True)]
        before = [penalty for penalty, ratio in points if ratio is None]
        return max(before) if before and len(before) < len(points) else None


@dataclass(frozen=True)
class Point(Record):
    """One point of a training curve: after `images` images, in `phase`; `accuracy` is a share in [0, 1], of what
    the entry's `measure` names. `zeros`, at the end of a round of a method that takes single weights, is the share of
    zeros among the weights that it takes from."""

    entry: str
    phase: str
    images: int
    loss: float | None
    accuracy: float | None
    zeros: float | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        not_negative(self, "images")
        share(self, "accuracy")
        share(self, "zeros")


@dataclass(frozen=True)
class Report(Record):
    """Everything a page needs: the networks before and after, how they got there, and how to do it again."""

    title: str
    created: str
    command: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    entries: Sequence[Entry]
    traces: Sequence[Trace] = ()
    curve: Sequence[Point] = ()
    partings: Sequence[Parting] = field(default=(), metadata=LATER)
    patterns: Sequence[Patterns] = field(default=(), metadata=LATER)
    blocked: Sequence[Blocked] = field(default=(), metadata=LATER)
    version: int = VERSION

    def __post_init__(self) -> None:
        freeze(self, "entries", "traces", "curve", "partings", "patterns", "blocked")
        if self.version != VERSION:
            raise ReportError(f"this is a report of version {self.version}; this Niwaki reads version {VERSION}")
        names = [entry.name for entry in self.entries]
        unique("entries", names)
        unique("partings", [parting.entry for parting in self.partings])
        unique("patterns", [patterns.entry for patterns in self.patterns])
        told: dict[str, Sequence[Trace | Point | Parting | Patterns]] = {
            "trace": self.traces, "curve": self.curve, "parting": self.partings, "patterns": self.patterns
        }  # fmt: skip
        for kind, strays in told.items():
            for stray in strays:
                if stray.entry not in names:
                    raise ReportError(f"{kind}: no entry is named {stray.entry!r}; entries: {', '.join(names)}")

    @property
    def dense(self) -> Entry | None:
        """The entry that everything is compared with, if there is one."""
        return next((entry for entry in self.entries if entry.name == DENSE), None)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `report.json` and `report.html` into `folder` (made if absent); return the path of the page.

        Both are rendered before either is written, and each is replaced whole: nobody reads half of one.

        Raises:
            ReportError: a number is not finite or a value has the wrong type.
        MissingExtra: there is something to draw and matplotlib is not installed.
        """
        from .page import render

        text = _text(self.to_json())
        html = render(self)
        place = Path(folder)
        made(place)
        write(place / "report.json", text)
        return write(place / "report.html", html)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read `report.json`; `path` is the file or its folder.

        Raises:
            ReportError: the file is not a report that this version reads.
        """
        place = Path(path)
        place = place / "report.json" if place.is_dir() else place
        try:
            data = json.loads(place.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        except OSError as error:
            raise ReportError(f"no report can be read at {place}: {error.strerror}") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ReportError(f"{place} is not JSON: {error}") from None
        except ReportError as error:  # of a constant that is no number
            raise ReportError(f"{place}: {error}") from None
        return _of_file(place, data)

    def summary(self) -> Table:
        """A `rich` table, one row per entry: print it with `rich.print`."""
        from .table import summary

        return summary(self)


def _text(data: dict[str, Any]) -> str:
    """JSON to be read by people too: a row of numbers stays on one line. (No string holds a line break of its own.)"""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return re.sub(r"\[\n([-+.,\w\s]*)\]", lambda row: f"[{' '.join(row[1].split())}]", text)


def write(path: Path, text: str) -> Path:
    """Replace a file whole: nobody reads half of one."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return path


def _of_file(place: Path, data: Any) -> Report:
    """The report in what a file holds; its errors name the file."""
    version = data.get("version") if isinstance(data, dict) else None
    # Before anything else: a later version may have keys that this one does not know.
    if type(version) is int and version > VERSION:
        raise ReportError(
            f"{place} is a report of version {version}; this Niwaki reads version {VERSION}: install a newer one"
        )
    try:
        return Report.from_json(data)
    except ReportError as error:
        raise ReportError(f"{place}: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ReportError(f"the file holds {name}; a report holds finite numbers only")


def _check_certificate(name: str, certificate: dict[str, Any]) -> None:
    where = f"certificate of {name!r}"
    if not isinstance(certificate, dict) or not isinstance(certificate.get("holds"), bool):
        raise ReportError(f"{where}: needs 'holds', true or false")
    if not isinstance(certificate.get("checks"), list | tuple):
        raise ReportError(f"{where}: needs 'checks', a list")
    for i, check in enumerate(certificate["checks"]):
        for key, kinds in _CHECK_KEYS.items():
            if not isinstance(check, dict) or key not in check or not isinstance(check[key], kinds):
                raise ReportError(f"{where}: checks[{i}] needs {key!r} ({' or '.join(k.__name__ for k in kinds)})")
