"""Things that a benchmark knows by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from niwaki.errors import BadInput, nearest

T = TypeVar("T")


def named(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The one of this name. ``kind``: what such things are, for the message.

    Raises:
        BadInput: there is none.
    """
    if name not in known:
        raise BadInput(f"no {kind} is called {name!r}{nearest(name, known) or '.'} Known: {', '.join(known)}.")
    return known[name]


__all__ = ["named"]
