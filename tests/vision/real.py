"""Where real data and weights are, if they are there: the folder that NIWAKI_DATA names, or ``shared/data`` in the
checkout or beside it. Tests that need one are skipped elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def real(name: str) -> Path:
    """The file or folder of that name; skips the test where there is none."""
    named = os.environ.get("NIWAKI_DATA")
    places = [Path(named)] if named else [ROOT / "shared" / "data", ROOT.parent / "shared" / "data"]
    for place in places:
        if (place / name).exists():
            return place / name
    pytest.skip(f"there is no {name} here; NIWAKI_DATA may name a folder that has it")
