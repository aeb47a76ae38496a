"""Reports: facts in, one page and one table out. Light to import: nothing is drawn yet."""

from .schema import Entry, Latency, Point, Report, ReportError, Trace

__all__ = ["Entry", "Latency", "Point", "Report", "ReportError", "Trace"]
