"""Reports: facts in, one page and one table out. Light to import: nothing is drawn yet."""

from .schema import (
    Entry,
    GroupParting,
    Latency,
    Parting,
    PatternRound,
    Patterns,
    Phase,
    Point,
    Report,
    ReportError,
    Trace,
)

__all__ = [
    "Entry",
    "GroupParting",
    "Latency",
    "Parting",
    "PatternRound",
    "Patterns",
    "Phase",
    "Point",
    "Report",
    "ReportError",
    "Trace",
]
