"""What a report says of widths: what kept each group from another one, and what could not be cut at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from niwaki.errors import nearest

from .checks import freeze, not_negative, positive
from .codec import Record, ReportError

__all__ = ["CAUSES", "Blocked", "Limit"]

CAUSES = {
    "share": "target's share",
    "rounding": "rounding",
    "balance": "balance",
    "least": "must stay",
    "one": "one must stay",
    "budget": "target met",
    "competition": "scores",
    "latency": "latency",
    "left out": "left out",
    "unknown": "not known",
}
"""What can limit a width, and the few words that a table has for it."""


@dataclass(frozen=True)
class Limit(Record):
    """Why a group keeps as many units as it does: a cause of :data:`CAUSES`, and a sentence about this group.

    `tied` names the layers that make its units and lose them together; one alone is tied to none.
    """

    group: str
    cause: str
    detail: str
    tied: Sequence[str] = ()

    def __post_init__(self) -> None:
        freeze(self, "tied")
        if self.cause not in CAUSES:
            hint = nearest(self.cause, CAUSES) or f"; known: {', '.join(CAUSES)}"
            raise ReportError(f"limit of {self.group!r}: no cause is called {self.cause!r}{hint}")


@dataclass(frozen=True)
class Blocked(Record):
    """Why some dimensions of tensors cannot be cut, wholly or in part: `reason` in a sentence, with what to do.

    `axes` names a few of them, of `count` in all; `entries` is the size of the tensors that they belong to.
    """

    reason: str
    axes: Sequence[str]
    count: int
    entries: int

    def __post_init__(self) -> None:
        freeze(self, "axes")
        positive(self, "count")
        not_negative(self, "entries")
