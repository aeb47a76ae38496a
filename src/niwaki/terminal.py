"""What commands share: the option that shows where an error came from, and tables on standard output."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

TRACEBACK, KEPT = "niwaki.traceback", "niwaki.kept"
RESUMES, CONTINUES = "niwaki.resumes", "niwaki.continues"
"""Keys of a command's ``meta``: whether an error is shown in full, the folder in which what is finished is kept, and
whether the command goes on with ``--resume``, or as it is. A command that keeps something sets ``KEPT`` to None until
there is anything in the folder."""
_WIDE = 160  # columns of a table that is piped into a file


def _remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[TRACEBACK] = True


traceback_option = click.option(
    "--traceback", is_flag=True, expose_value=False, callback=_remember, help="On an error, show where it came from."
)


def stdout() -> Console:
    """Where tables are printed."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE)


def replace_unknown() -> None:
    """Print ``?`` for a character that the encoding of the output lacks (``→`` in cp1252), in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        # A stream that somebody put there need not be one of files.
        if isinstance(stream, io.TextIOWrapper) and "utf" not in stream.encoding.lower():
            stream.reconfigure(errors="replace")


__all__ = ["CONTINUES", "KEPT", "RESUMES", "TRACEBACK", "replace_unknown", "stdout", "traceback_option"]
