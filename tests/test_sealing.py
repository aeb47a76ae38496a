"""A sealed file tells whether it is whole."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from niwaki import sealing
from niwaki.errors import BadInput, BrokenFile, CannotWrite
from niwaki.sealing import require_whole, seal, unseal

STATE: dict[str, Any] = {"steps": 3, "model": {"weight": torch.arange(6.0).reshape(2, 3)}, "names": ["a", "b"]}


def flip(at: int) -> Callable[[bytes], bytes]:
    def flipped(data: bytes) -> bytes:
        found = bytearray(data)
        found[at] ^= 4
        return bytes(found)

    return flipped


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is empty"),
    "one byte": (lambda data: data[:1], "is cut short: 1 bytes are left"),
    "half": (lambda data: data[: len(data) // 2], "is cut short, or was not written by this release"),
    "all but the seal": (lambda data: data[:-56], "is cut short, or"),
    "all but one byte": (lambda data: data[:-1], "is cut short, or"),
    "a hole": (lambda data: data[:100] + data[150:], "bytes where .* were written"),
    "longer": (lambda data: b"x" + data, "bytes where .* were written"),
    "first bit": (flip(0), "checksum is another"),
    "a middle bit": (flip(700), "checksum is another"),
    "its last byte of content": (flip(-57), "checksum is another"),
    "its length": (flip(-40), "bytes where .* were written"),
    "its checksum": (flip(-1), "checksum is another"),
    "zeros at the end": (lambda data: data[:-60] + bytes(60), "is cut short, or"),
    "zeros in the middle": (lambda data: data[:600] + bytes(64) + data[664:], "checksum is another"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen_and_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.pt"
    seal(STATE, path)
    require_whole(path)
    change, told = DAMAGE[damage]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BrokenFile, match=rf"state\.pt .*{told}"):
        unseal(path)


def test_what_was_sealed_comes_back_and_torch_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    seal(STATE, path)
    for found in (unseal(path), torch.load(path, weights_only=True)):
        assert found["steps"] == 3
        assert torch.equal(found["model"]["weight"], STATE["model"]["weight"])
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_large_files_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_CHUNK", 7)
    seal(STATE, tmp_path / "state.pt")
    assert unseal(tmp_path / "state.pt")["names"] == ["a", "b"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match="cannot be read"):
        unseal(tmp_path / "state.pt")


def test_code_is_not_read(tmp_path: Path) -> None:
    seal({"path": tmp_path}, tmp_path / "state.pt")
    with pytest.raises(
        BadInput, match=r"more than tensors and plain data \(pathlib\.\w+\), and nothing that could run"
    ):
        unseal(tmp_path / "state.pt")


@pytest.mark.parametrize("room", [0, 10, 700, 900, 1300])
def test_a_full_disk_is_told_wherever_it_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """torch tells of it in words of its own, in the middle of a file."""
    path = tmp_path / "state.pt"
    seal({"steps": 1}, path)
    real = Path.open

    def opened(self: Path, *args: Any, **kwargs: Any) -> Any:
        return Small(real(self, *args, **kwargs), room) if "w" in str(args) else real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(CannotWrite, match=r"state.pt cannot be written: the disk is full .*there is room for"):
        seal(STATE, path)
    monkeypatch.undo()
    assert unseal(path) == {"steps": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


class Small:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> Small:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        if len(data) > self.room:
            self.file.write(bytes(data)[: self.room])
            self.room = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return int(self.file.write(data))

    def flush(self) -> None:
        self.file.flush()
