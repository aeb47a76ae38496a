"""What tests of several rooms ask for."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Data sets are looked for in the test's own folder, which is given, and jobs compute on the processor."""
    monkeypatch.setenv("NIWAKI_DATA", str(tmp_path))
    monkeypatch.setenv("NIWAKI_DEVICE", "cpu")
    return tmp_path
