"""What the benchmarks have kept, for the pages that show it."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict | None:
    """The results of a benchmark; None if it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def machine(found: dict) -> str:
    """On what they were made."""
    e = found["environment"]
    return f"{e['cores']} cores of {e['processor']}, torch {e['torch']}"
