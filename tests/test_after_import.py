"""Something is done when another library's module is imported, and that library notices nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from niwaki.after_import import after_import

NAME = "late_bloomer"


@pytest.fixture
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{NAME}.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    sys.modules.pop(NAME, None)


@pytest.mark.usefixtures("_module")
def test_the_action_follows_every_import_and_sees_the_whole_module() -> None:
    seen: list[int] = []
    after_import(NAME, lambda: seen.append(sys.modules[NAME].value))
    assert seen == []
    module = importlib.import_module(NAME)
    assert seen == [3]
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.__spec__.loader is module.__loader__
    importlib.reload(module)
    assert seen == [3, 3]


@pytest.mark.usefixtures("_module")
def test_what_is_there_already_is_acted_on_now() -> None:
    importlib.import_module(NAME)
    seen: list[str] = []
    after_import(NAME, lambda: seen.append("now"))
    assert seen == ["now"]


@pytest.mark.usefixtures("_module")
def test_asking_twice_installs_one_finder() -> None:
    before = len(sys.meta_path)
    for _ in range(2):
        after_import(NAME, lambda: None)
    assert len(sys.meta_path) == before + 1


@pytest.mark.usefixtures("_module")
def test_an_action_that_fails_is_told_and_harms_no_import(caplog: pytest.LogCaptureFixture) -> None:
    after_import(NAME, lambda: [][0])
    assert importlib.import_module(NAME).value == 3
    assert "niwaki could not make itself known to late_bloomer (IndexError:" in caplog.text


@pytest.mark.usefixtures("_module")
def test_other_modules_are_found_by_others() -> None:
    seen: list[str] = []
    after_import(NAME, lambda: seen.append("wrong"))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{NAME}_too")
    assert seen == []
