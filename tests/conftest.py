"""What tests of several rooms ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Data sets are looked for in the test's own folder, which is given, and jobs compute on the processor."""
    monkeypatch.setenv("NIWAKI_DATA", str(tmp_path))
    monkeypatch.setenv("NIWAKI_DEVICE", "cpu")
    return tmp_path


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Times of layers are kept in a folder of the tests."""
    monkeypatch.setenv("NIWAKI_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no part of a test's name: packed ones hold the time, and every worker must find the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def disk_of_a_megabyte(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte; only root may make one."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a disk")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
