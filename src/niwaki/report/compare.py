"""Before and after: the few comparisons that the table, the plots and the headline all draw on.

Each comparison is None where one side is unknown; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from niwaki.wording import counted

from .schema import ACCURACY, DENSE, Entry, Report

__all__ = [
    "Setting",
    "Speedup",
    "best",
    "in_full",
    "latency",
    "measure",
    "points",
    "pruned",
    "runtimes",
    "share",
    "speedup",
    "verdict",
]

Setting = tuple[str, int, int]
_FASTER = 1.05  # below this a reader would not notice, whatever the clock says


class Speedup(NamedTuple):
    """Dense time over pruned time; `clear` is False where the gap drowns in the spread of the runs."""

    ratio: float
    clear: bool


def pruned(report: Report) -> list[Entry]:
    """Every entry but the dense one, in the report's order."""
    return [entry for entry in report.entries if entry.name != DENSE]


def measure(entries: Iterable[Entry]) -> str:
    """What `accuracy` is called of these: one name, or all of them where they were measured in several ways."""
    return " / ".join(dict.fromkeys(entry.measure for entry in entries)) or ACCURACY


def points(report: Report, entry: Entry) -> float | None:
    """Change of accuracy (or what was measured in its place) against the dense network, in percentage points."""
    dense = report.dense
    if dense is None or dense is entry or entry.measure != dense.measure:
        return None
    if entry.accuracy is None or dense.accuracy is None:
        return None
    return 100 * (entry.accuracy - dense.accuracy)


def share(report: Report, entry: Entry, what: str) -> float | None:
    """What remains of the dense network's `what` ("macs", "params", "file_bytes" and the like), as a share."""
    dense = report.dense
    if dense is None or dense is entry or not getattr(dense, what) or getattr(entry, what) is None:
        return None
    return float(getattr(entry, what) / getattr(dense, what))


def latency(entry: Entry, setting: Setting) -> float | None:
    """Median time of one forward pass in that setting, in milliseconds."""
    return next((timing.median_ms for timing in entry.latency if timing.setting == setting), None)


def speedup(report: Report, entry: Entry, setting: Setting) -> Speedup | None:
    """Measured speed-up over the dense network in the same runtime, threads and batch."""
    dense = report.dense
    if dense is None or dense is entry:
        return None
    before = next((timing for timing in dense.latency if timing.setting == setting), None)
    after = next((timing for timing in entry.latency if timing.setting == setting), None)
    if before is None or after is None:
        return None
    ratio = before.median_ms / after.median_ms
    gap = abs(before.median_ms - after.median_ms)
    noise = (before.spread_ms + after.spread_ms) / 2
    return Speedup(ratio, gap > noise and not 1 / _FASTER < ratio < _FASTER)


def runtimes(*reports: Report) -> dict[Setting, str]:
    """Every latency setting with a name to show, as short as it can be without two being the same."""
    timings = [timing for report in reports for entry in report.entries for timing in entry.latency]
    settings = list(dict.fromkeys(timing.setting for timing in timings))
    often = [setting[0] for setting in settings]
    return {s: s[0] if often.count(s[0]) == 1 else f"{s[0]}, {counted(s[1], 'thread')}, batch {s[2]}" for s in settings}


def in_full(*reports: Report) -> dict[Setting, str]:
    """The same with the batch, of all of which a time is, whereas multiply-adds are counted for one sample."""
    return {s: name if ", batch " in name else f"{name}, batch {s[2]}" for s, name in runtimes(*reports).items()}


def verdict(entry: Entry) -> str:
    """Whether the certificate "holds", "fails" or says nothing ("none"): one bad check spoils it."""
    certificate = entry.certificate
    if certificate is None:
        return "none"
    if not certificate["holds"] or not all(check["holds"] for check in certificate["checks"]):
        return "fails"
    return "holds" if certificate["checks"] else "none"


def best(report: Report) -> Entry | None:
    """The entry to speak of first: no failed certificate, then the highest accuracy, then the fewest MACs."""
    return max(pruned(report), key=_rank, default=None)


def _rank(entry: Entry) -> tuple[bool, float, int]:
    return (verdict(entry) != "fails", -1.0 if entry.accuracy is None else entry.accuracy, -entry.macs)
