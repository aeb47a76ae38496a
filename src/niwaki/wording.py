"""Numbers of things, as tables and documents say them."""

from __future__ import annotations


def counted(number: int, one: str, more: str | None = None) -> str:
    """``counted(1, "epoch")`` is "1 epoch", ``counted(1280, "image")`` "1,280 images"; ``more``: another plural than
    with an s."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


__all__ = ["counted"]
