"""What the records of a report check when they are made.

The comparisons are written so that NaN passes: `to_json` refuses it with the full name of its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from .codec import ReportError

__all__ = ["freeze", "not_negative", "positive", "share", "unique"]


def freeze(record: object, *names: str) -> None:
    """Callers may give lists; a frozen record keeps tuples, so that its copy from disk is equal to it."""
    for name in names:
        value = getattr(record, name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ReportError(f"{name} must be a list, not {type(value).__name__}")
        object.__setattr__(record, name, tuple(value))


def positive(record: object, *names: str) -> None:
    """Fields that must be above 0."""
    for name in names:
        if getattr(record, name) <= 0:
            raise ReportError(f"{name} must be positive, not {getattr(record, name)!r}")


def not_negative(record: object, *names: str) -> None:
    """Fields that must be 0 or more."""
    for name in names:
        if getattr(record, name) < 0:
            raise ReportError(f"{name} must not be negative, not {getattr(record, name)!r}")


def share(record: object, name: str) -> None:
    """A field that must be in [0, 1], or None."""
    value = getattr(record, name)
    if value is not None and (value < 0 or value > 1):
        raise ReportError(f"{name} must be a share between 0 and 1, not {value!r}")


def unique(where: str, values: Sequence[object]) -> None:
    """Values of which none may appear twice."""
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ReportError(f"{where}: {twice[0]!r} appears twice")
