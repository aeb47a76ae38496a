"""The before-and-after table: cells worked out once, shown in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import compare, phrase
from .schema import Entry, Report

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cell", "columns", "rows", "summary"]

_TONES = {"good": "green", "bad": "bold red", "": ""}
_MEMORY = {"activations": "activation_bytes", "peak memory": "peak_bytes"}
_VERDICTS = {"holds": ("holds", "good"), "fails": ("FAILS", "bad"), "none": ("not certified", "")}


@dataclass(frozen=True)
class Cell:
    """A value, the comparison beside it, whether that is "good", "bad" or neither (""), and a remark below it."""

    main: str
    aside: str = ""
    tone: str = ""
    more: str = ""


def columns(*reports: Report) -> list[str]:
    """Headings: network, accuracy (or what was measured), MACs, parameters, file, memory where any report has it, one
    per latency setting of any report, certificate."""
    memory = [name for name, _ in _memory(reports)]
    return [
        "network",
        compare.measure(entry for report in reports for entry in report.entries),
        "MACs per sample",
        "parameters",
        "file",
        *memory,
        *compare.in_full(*reports).values(),
        "certificate",
    ]


def rows(report: Report, beside: Sequence[Report] = ()) -> list[list[Cell]]:
    """One row of cells per entry of the report, under the columns of these reports (its own, if there are none)."""
    all_ = beside or [report]
    settings, memory = list(compare.runtimes(*all_)), [what for _, what in _memory(all_)]
    several = len({entry.measure for one in all_ for entry in one.entries}) > 1
    return [_row(report, entry, settings, memory, several) for entry in report.entries]


def summary(report: Report) -> Table:
    """The same cells as a rich table, without those of memory, for which a terminal is too narrow. Labels are shown as
    they are, never read as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(report.title))
    shown = [i for i, name in enumerate(columns(report)) if name not in _MEMORY]
    for i in shown:
        table.add_column(Text(columns(report)[i]), justify="right" if i else "left", overflow="fold")
    for row in rows(report):
        table.add_row(*(Text(_flat(row[i]), style=_TONES[row[i].tone]) for i in shown))
    return table


def _flat(cell: Cell) -> str:
    return f"{cell.main} ({cell.aside})" if cell.aside else cell.main


def _memory(reports: Sequence[Report]) -> list[tuple[str, str]]:
    """(heading, field) of what any of the reports has measured of a forward pass's memory."""
    entries = [entry for report in reports for entry in report.entries]
    return [
        (name, what) for name, what in _MEMORY.items() if any(getattr(entry, what) is not None for entry in entries)
    ]


def _row(
    report: Report, entry: Entry, settings: Sequence[compare.Setting], memory: Sequence[str], several: bool
) -> list[Cell]:
    """``several``: not all rows have the same measure, so that each names its own."""
    return [
        Cell(entry.label),
        _accuracy(report, entry, entry.measure if several else ""),
        _amount(report, entry, "macs", phrase.count(entry.macs)),
        _amount(report, entry, "params", phrase.count(entry.params)),
        _amount(report, entry, "file_bytes", phrase.bytes_(entry.file_bytes)),
        *(_bytes(report, entry, what) for what in memory),
        *(_latency(report, entry, setting) for setting in settings),
        Cell("—") if entry is report.dense else Cell(_VERDICTS[compare.verdict(entry)][0], tone=_tone(entry)),
    ]


def _tone(entry: Entry) -> str:
    return _VERDICTS[compare.verdict(entry)][1]


def _accuracy(report: Report, entry: Entry, named: str) -> Cell:
    if entry.accuracy is None:
        return Cell("—")
    moved = compare.points(report, entry)
    change = "" if moved is None else f"{phrase.change(moved, 2)} points"
    return Cell(phrase.percent(entry.accuracy, 2), change, more=named)


def _amount(report: Report, entry: Entry, what: str, text: str) -> Cell:
    left = compare.share(report, entry, what)
    return Cell(text, "" if left is None else phrase.times(left))


def _bytes(report: Report, entry: Entry, what: str) -> Cell:
    found = getattr(entry, what)
    return Cell("—") if found is None else _amount(report, entry, what, phrase.bytes_(found))


def _latency(report: Report, entry: Entry, setting: compare.Setting) -> Cell:
    time = compare.latency(entry, setting)
    if time is None:
        return Cell("—")
    gain = compare.speedup(report, entry, setting)
    if gain is None:
        return Cell(phrase.milliseconds(time))
    tone = "" if not gain.clear else "good" if gain.ratio > 1 else "bad"
    left = compare.share(report, entry, "macs")
    promise = f"MACs say {phrase.times(1 / left)}" if left else ""
    return Cell(phrase.milliseconds(time), f"{phrase.times(gain.ratio)} as fast", tone, promise)
