"""Numbers of things, as tables and documents say them."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, one: str, more: str | None = None) -> str:
    """``counted(1, "epoch")`` is "1 epoch", ``counted(1280, "image")`` "1,280 images"; ``more``: another plural than
    with an s."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first ones, and how many more there are: "a, b, c and 2 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


__all__ = ["counted", "some"]
