"""What the benchmarks have kept, for the pages that show it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from niwaki.wording import counted

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict | None:
    """The results of a benchmark; None if it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def shows(name: str, title: str, *, titled: bool = False) -> Callable[[Callable[[dict], str]], Callable[[], str]]:
    """Makes of a text about a benchmark's results one that reads them, and says so where it was not run.

    ``titled``: the title stands before the text too.
    """

    def wrap(text: Callable[[dict], str]) -> Callable[[], str]:
        @functools.wraps(text)
        def shown() -> str:
            found = read(name)
            if found is None:
                return f"{title}: not run."
            return f"{title}:\n\n{text(found)}" if titled else text(found)

        return shown

    return wrap


def machine(found: dict) -> str:
    """On what they were made."""
    e = found["environment"]
    return f"{counted(e['cores'], 'core')} of {e['processor']}, torch {e['torch']}"
