"""Reports: facts in, one page and one table out. Light to import: nothing is drawn yet."""

from .schema import (
    Blocked,
    Entry,
    Foretold,
    GroupParting,
    Latency,
    Limit,
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
