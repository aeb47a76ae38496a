"""What a run tells while it works: progress bars on a terminal, one plain line per stage elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[str], None]
"""One step is done; the text (it may be empty) stands beside the bar."""


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Teller:
    """Speaks to ``console`` (standard error, so that results can be piped); ``quiet``: not at all."""

    console: Console = field(default_factory=_stderr)
    quiet: bool = False

    def say(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self.console.print(text)

    @contextmanager
    def wait(self, title: str) -> Iterator[None]:
        """A stage without steps that could be counted."""
        if self.quiet or not self.console.is_terminal:
            self.say(f"{title} …")
            yield
            return
        from rich.text import Text

        with self.console.status(Text(title)):
            yield

    @contextmanager
    def stage(self, title: str, total: int | None = None, done: int = 0) -> Iterator[Advance]:
        """A stage of the run. ``total``: how many steps it will take at most; None if nobody knows. ``done``: how many
        of them were done before."""
        if self.quiet or not self.console.is_terminal:
            self.say(f"{title} …")
            yield lambda note: None
            return
        from rich import progress as p

        said, beside = (p.TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
        counted = p.MofNCompleteColumn()
        with p.Progress(said, p.BarColumn(), counted, p.TimeRemainingColumn(), beside, console=self.console) as bars:
            task = bars.add_task(title, total=total, completed=done, note="")
            yield lambda note: bars.update(task, advance=1, note=note)
