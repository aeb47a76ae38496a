"""Checkpoints are read one tensor at a time, of one file or of many; what is damaged or points elsewhere is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import niwaki as nk
from niwaki.disk import INDEX, WEIGHTS, Checkpoint, layout, write
from niwaki.errors import BadInput, BrokenFile


def tensors() -> dict[str, torch.Tensor]:
    return {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.arange(4, dtype=torch.int64),
        "c": torch.full((5,), 0.5, dtype=torch.bfloat16),
        "d": torch.tensor(3.0),
    }


def sizes() -> dict[str, int]:
    return {name: t.numel() * t.element_size() for name, t in tensors().items()}  # 24, 32, 10, 4 bytes


def written(folder: Path, most: int) -> Path:
    write(layout(sizes(), most), tensors().__getitem__, folder)
    return folder


@pytest.mark.parametrize(
    ("most", "files"),
    [
        (70, [("a", "b", "c", "d")]),
        (69, [("a", "b", "c"), ("d",)]),
        (40, [("a",), ("b",), ("c", "d")]),
        (42, [("a",), ("b", "c"), ("d",)]),
        (1, [("a",), ("b",), ("c",), ("d",)]),  # each is larger than a file may be, and has one alone
    ],
)
def test_files_are_filled_in_order(most: int, files: list[tuple[str, ...]]) -> None:
    found = layout(sizes(), most)
    assert list(found.files.values()) == files
    assert found.size == 70
    n = len(files)
    names = [WEIGHTS] if n == 1 else [f"model-0000{k + 1}-of-0000{n}.safetensors" for k in range(n)]
    assert list(found.files) == names


def test_a_file_must_hold_something() -> None:
    with pytest.raises(BadInput, match="at least a byte, not 0"):
        layout(sizes(), 0)


@pytest.mark.parametrize("most", [1, 42, 1000])
def test_what_was_written_is_read(most: int, tmp_path: Path) -> None:
    found = Checkpoint(written(tmp_path, most))
    assert set(found) == set(tensors())
    assert len(found) == 4
    for name, t in tensors().items():
        assert torch.equal(found[name], t)
        assert found[name].dtype == t.dtype
        assert found.entries[name].shape == tuple(t.shape)
    assert found.entries["c"].dtype == "BF16"


def test_one_file_by_its_own_name(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "other.safetensors")
    assert torch.equal(nk.Checkpoint(tmp_path / "other.safetensors")["a"], tensors()["a"])


def test_a_later_writing_leaves_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (tmp_path / "adapter.safetensors").write_bytes(b"mine")
    written(tmp_path, 1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter.safetensors", WEIGHTS]
    written(tmp_path, 42)
    assert len(list(tmp_path.glob("model*"))) == 4
    assert not (tmp_path / WEIGHTS).exists()
    assert set(Checkpoint(tmp_path)) == set(tensors())


def rewritten(folder: Path, most: int, at: str) -> None:
    """Write other values over these, and be interrupted at a tensor."""

    def give(name: str) -> torch.Tensor:
        if name == at:
            raise KeyboardInterrupt
        return tensors()[name] + 1

    with pytest.raises(KeyboardInterrupt):
        write(layout(sizes(), most), give, folder)


@pytest.mark.parametrize("before", [42, 1000])
@pytest.mark.parametrize(
    ("most", "at", "begun"), [(42, "a", False), (42, "b", True), (1, "d", True), (1000, "d", False)]
)
def test_a_writing_that_is_broken_off_leaves_the_old_or_nothing(
    before: int, most: int, at: str, begun: bool, tmp_path: Path
) -> None:
    (written(tmp_path, before) / "plan.json").write_text("{}")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rewritten(tmp_path, most, at)
    if begun:
        assert not (tmp_path / "plan.json").exists()
        with pytest.raises(BrokenFile, match="nor an index of shards"):
            Checkpoint(tmp_path)
    else:
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    written(tmp_path, most)
    assert set(Checkpoint(tmp_path)) == set(tensors())
    assert not list(tmp_path.glob("*.part"))


KILLED = """
import os, sys
from pathlib import Path
import torch
from niwaki import disk, replacing
replacing._to_disk = lambda path: os._exit(9)
disk.write(disk.layout({"a": 24}, None), lambda name: torch.ones(2, 3), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("before", [42, 1000])
def test_who_is_killed_while_the_first_file_goes_to_the_disk_has_the_earlier_ones(before: int, tmp_path: Path) -> None:
    (written(tmp_path, before) / "plan.json").write_text("{}")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == 9
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".part"} == files
    assert set(Checkpoint(tmp_path)) == set(tensors())


@pytest.mark.parametrize("at", ["before", "after"])
def test_an_interruption_around_the_first_file_s_taking_its_place(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (written(tmp_path, 42) / "plan.json").write_text("{}")
    real = os.replace

    def interrupted(old: Path, new: Path) -> None:
        if at == "after":
            real(old, new)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, 42)
    marks = [(tmp_path / name).exists() for name in (INDEX, "plan.json")]
    assert marks == [at == "before"] * 2
    assert not list(tmp_path.glob("*.part"))


def test_the_index_is_laid_out_as_transformers_does(tmp_path: Path) -> None:
    index = json.loads((written(tmp_path, 42) / INDEX).read_text())
    assert index["metadata"] == {"total_size": 70}
    assert index["weight_map"]["c"] == "model-00002-of-00003.safetensors"


def test_one_tensor_is_asked_for_at_a_time_and_told(tmp_path: Path) -> None:
    asked: list[str] = []
    wrote: list[str] = []

    def give(name: str) -> torch.Tensor:
        asked.append(name)
        return tensors()[name]

    write(layout(sizes(), 42), give, tmp_path, wrote.append)
    assert asked == wrote == ["a", "b", "c", "d"]


def test_a_name_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    save_file({"layer.weight": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(KeyError, match=r"no tensor 'layer.weights'; did you mean 'layer.weight'"):
        Checkpoint(tmp_path)["layer.weights"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"no weights at .*model.safetensors, nor an index of shards"):
        Checkpoint(tmp_path)
    with pytest.raises(BrokenFile, match=r"no weights at .*gone.safetensors"):
        Checkpoint(tmp_path / "gone.safetensors")


def test_a_shard_that_is_missing_or_cut_short_is_named(tmp_path: Path) -> None:
    second = written(tmp_path, 42) / "model-00002-of-00003.safetensors"
    whole = second.read_bytes()
    second.write_bytes(whole[:-3])
    with pytest.raises(BrokenFile, match=r"00002-of-00003.safetensors is not a readable safetensors file"):
        Checkpoint(tmp_path)
    second.unlink()
    with pytest.raises(BrokenFile, match=r"no weights at .*00002-of-00003"):
        Checkpoint(tmp_path)


def changed(folder: Path, **moved: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] |= moved
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("elsewhere", ["../a.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "weights.bin"])
def test_an_index_that_points_elsewhere_is_refused(elsewhere: str, tmp_path: Path) -> None:
    changed(written(tmp_path, 42), a=elsewhere)
    with pytest.raises(BrokenFile, match="which is no safetensors file beside it"):
        Checkpoint(tmp_path)


def test_an_index_that_is_wrong_is_refused(tmp_path: Path) -> None:
    changed(written(tmp_path, 42), a="model-00003-of-00003.safetensors")
    with pytest.raises(BrokenFile, match=r"says that 'a' is in model-00003-of-00003.safetensors, and it is not"):
        Checkpoint(tmp_path)
    (tmp_path / INDEX).write_text('{"weight_map": 3}')
    with pytest.raises(BrokenFile, match="not a usable index of shards"):
        Checkpoint(tmp_path)


def test_an_index_that_names_another_of_its_files_is_refused(tmp_path: Path) -> None:
    changed(written(tmp_path, 42), b="model-00001-of-00003.safetensors")  # the second is read all the same, for 'c'
    with pytest.raises(BrokenFile, match=r"says that 'b' is in model-00001-of-00003.safetensors, and it is not"):
        Checkpoint(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    written(tmp_path, 42)
    save_file({"a": torch.zeros(1), "d": torch.zeros(1)}, tmp_path / "model-00003-of-00003.safetensors")
    with pytest.raises(BrokenFile, match=r"'a' is in two files"):
        Checkpoint(tmp_path)
