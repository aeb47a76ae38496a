"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import niwaki.replacing as replacing_module
from niwaki.errors import CannotWrite
from niwaki.replacing import left, made, replacing, swept, writable


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="rights are others there")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_file_has_the_rights_of_any_new_one(tmp_path: Path, umask: int) -> None:
    """safetensors writes files that only the owner may read, and who delivers a model means others to."""
    before = os.umask(umask)
    try:
        (tmp_path / "any").touch()
        with replacing(tmp_path / "x") as part:
            save_file({"x": torch.zeros(2)}, part)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")

    def broken_off() -> None:
        with replacing(path) as part:
            part.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        broken_off()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_one_stem_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.json") as one, replacing(tmp_path / "a.pt") as other:
        one.write_text("1")
        other.write_text("2")
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["1", "2"]


# -- what the disk refuses ----------------------------------------------------------------------------------------

REFUSED = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "a file may not be as large as that",
    errno.EIO: "the disk fails",
    errno.ESTALE: "the folder of a network is gone",
    errno.EROFS: "the disk may only be read",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open on this machine",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.ENOTDIR: "a file is where its folder must be",
    errno.EISDIR: "a folder has its name",
    errno.ENOENT: "its folder is not there",
    errno.ENAMETOOLONG: "its name is too long",
}


def refusing(number: int, *, named: bool = True) -> Callable[..., Any]:
    """An operation on files that fails."""

    def refused(path: Any = None, *_: Any, **__: Any) -> Any:
        if named:
            raise OSError(number, os.strerror(number), str(path))
        raise OSError(number, os.strerror(number))

    return refused


@pytest.mark.parametrize("number", REFUSED)
def test_what_the_disk_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", refusing(number))

    def write() -> None:
        with replacing(path) as part:
            part.write_text("new")

    with pytest.raises(CannotWrite, match=rf"plan\.json cannot .*: {REFUSED[number]} \(.*, after 3 bytes") as told:
        write()
    assert told.value.errno == number
    assert isinstance(told.value, OSError)
    assert "What was there before is as it was." in str(told.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_library_s_own_words_are_understood(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "model.safetensors"):
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(CannotWrite, match="the disk is full"):
        write()


def test_another_file_s_trouble_is_not_taken_for_this_one_s(tmp_path: Path) -> None:
    """Inside, other files are read; and errors of other kinds are not the disk's."""
    for trouble in (PermissionError(errno.EACCES, "denied", "/etc/other"), OSError("odd"), ValueError("os error 28")):

        def write(trouble: Exception = trouble) -> None:
            with replacing(tmp_path / "model.onnx"):
                raise trouble

        with pytest.raises(type(trouble)) as caught:
            write()
        assert caught.value is trouble


def test_bytes_are_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real, sync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("name"), real(*a)))
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("folder" if _folder(file) else "bytes"), sync(file)))
    with replacing(tmp_path / "a", lambda part: done.append(f"ready {part.read_text()}")) as part:
        part.write_text("new")
    assert done == ["bytes", "ready new", "name", "folder"]


def _folder(file: int) -> bool:
    return stat.S_ISDIR(os.fstat(file).st_mode)


def test_file_systems_that_cannot_wait_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL, named=False))
    with replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


def test_folders_are_made_and_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(tmp_path / "a" / "b").is_dir()
    assert writable(tmp_path / "c" / "d").is_dir()
    assert list((tmp_path / "c" / "d").iterdir()) == []
    (tmp_path / "file").write_text("")
    for do in (made, writable):
        for folder in (tmp_path / "file", tmp_path / "file" / "x"):
            with pytest.raises(CannotWrite, match=r"file.* cannot be written: a file is where its folder must be"):
                do(folder)
    monkeypatch.setattr(Path, "write_bytes", refusing(errno.EROFS))
    with pytest.raises(CannotWrite, match=r"c/a file cannot be written: the disk may only be read"):
        writable(tmp_path / "c")


def test_parts_of_dead_writers_are_swept(tmp_path: Path) -> None:
    kept = ["7.part", "a.json", "dataset.tar.part", "dataset.v2.part", "x.12.01234567.parts"]
    for name in ("a.json.12.part", "b.pt.7.part", "c.pt.12.01234567.part", "probe.7.part", *kept):
        (tmp_path / name).write_text("")
    swept(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_writers_of_one_number_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    """In containers, all of them may be process 1."""
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
        assert left(tmp_path, "a") == sorted([one, other])
    assert (tmp_path / "a").read_text() == "1"
    assert left(tmp_path / "none", "a") == []


def test_a_folder_that_is_not_on_the_disk_yet_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: refusing(errno.EIO)(file) if _folder(file) else sync(file))

    def write() -> None:
        with replacing(path) as part:
            part.write_text("new")

    with pytest.raises(CannotWrite, match=r"the disk fails .*The new file is in its place, and may be gone after"):
        write()
    assert path.read_text() == "new"


def test_numbers_in_words_are_those_of_posix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble, path = RuntimeError("I/O error (os error 5)"), tmp_path / "a"
    monkeypatch.setattr(os, "name", "posix")
    assert replacing_module._number(trouble, (path,)) == errno.EIO
    monkeypatch.setattr(os, "name", "nt")
    assert replacing_module._number(trouble, (path,)) is None  # there it is "access is denied"
    monkeypatch.undo()


def test_a_file_may_be_no_larger(tmp_path: Path) -> None:
    """The real thing: a limit of the system, in a process of its own."""
    resource = pytest.importorskip("resource")
    code = """
import resource, sys
from pathlib import Path
from niwaki.errors import CannotWrite
from niwaki.replacing import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(Path(sys.argv[1])) as part:
        part.write_bytes(bytes(2000))
except CannotWrite as trouble:
    print(trouble)
"""
    assert resource
    path = tmp_path / "state.pt"
    path.write_text("old")
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "state.pt cannot be written: a file may not be as large as that (File too large, after 1,000" in told.stdout
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_and_one_that_may_only_be_read(disk_of_a_megabyte: Path) -> None:
    """The real things."""
    disk = disk_of_a_megabyte
    path = disk / "state.pt"
    with replacing(path) as part:
        part.write_bytes(bytes(700_000))

    def write(size: int) -> None:
        with replacing(path) as part:
            part.write_bytes(bytes([1]) * size)

    with pytest.raises(CannotWrite, match=r"the disk is full \(No space left .*, after [\d,]+ bytes; there is room"):
        write(700_000)
    assert path.read_bytes() == bytes(700_000)
    assert list(disk.iterdir()) == [path]
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(CannotWrite, match="the disk may only be read"):
        write(10)
    with pytest.raises(CannotWrite, match="the disk may only be read"):
        writable(disk / "more")
    assert path.read_bytes() == bytes(700_000)
