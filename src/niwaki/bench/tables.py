"""Rows of text as tables: of a document, and of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[list[str]]
"""Head and body."""


def markdown(rows: Rows) -> str:
    """The rows as a table of a document."""
    head, *body = rows
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))


def drawn(rows: Rows, title: str) -> Table:
    """The rows for the terminal."""
    from rich.table import Table

    head, *body = rows
    table = Table(title=title)
    for name in head:
        table.add_column(name)
    for row in body:
        table.add_row(*row)
    return table


__all__ = ["Rows", "drawn", "markdown"]
