"""A benchmark of rows: each is kept when it is done, with the machine that made it, and not made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kept
from ledger import environment, keep

Row = dict[str, Any]


def go_on(
    name: str, wanted: Mapping[str, Callable[[], Row]], figures: Callable[[Row], Row], *, again: bool = False
) -> None:
    """Make the rows that are not there yet, and keep them beside the others.

    Args:
        name: of the benchmark. wanted: what makes each row. figures: what is shown of one. again: make those that are
            there, too.
    """
    rows = there(name)
    for key, make in wanted.items():
        if again or key not in rows:
            rows[key] = {**make(), "machine": environment()}
            keep(name, {key: figures(row) for key, row in rows.items()}, rows)


def there(name: str) -> dict[str, Row]:
    """The rows that are there. Those from before each told its machine were made on that of the file."""
    found = kept.read(name)
    return {} if found is None else {key: {"machine": found["environment"], **row} for key, row in found["raw"].items()}
