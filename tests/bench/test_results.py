"""Results are written with their folder, and read again if they are of the same settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from niwaki.bench import results
from niwaki.errors import BrokenFile


def test_a_result_is_read_as_it_was_written_and_all_of_a_folder_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "b.json"
    assert results.read(path, {"seed": 1}) is None
    assert results.read_all(tmp_path / "cells") == []
    results.write(path, {"seed": 1, "value": [0.5]})
    results.write(path.with_name("a.json"), {"seed": 0})
    assert results.read(path, {"seed": 1}) == {"seed": 1, "value": [0.5]}
    assert results.read_all(tmp_path / "cells") == [{"seed": 0}, {"seed": 1, "value": [0.5]}]


def test_a_result_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    results.write(path, {"seed": 1, "rows": {"a": 1}})
    with pytest.raises(BrokenFile, match=r"a\.json has another rows: \{'a': 1\}, not 2; remove it, or name another"):
        results.read(path, {"seed": 1, "rows": 2})
    with pytest.raises(BrokenFile, match=r"a\.json is of 1 seed; remove it"):
        results.read(path, {"seed": 2}, "is of {found} {key}")
    with pytest.raises(BrokenFile, match="has another epochs: None, not 3"):
        results.read(path, {"epochs": 3})
