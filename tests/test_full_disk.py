"""Everything that writes files, on a disk that is full or may only be read: a clear error, and nothing is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki import disk, savepoints
from niwaki.artefact.documents import write_json
from niwaki.bench import results
from niwaki.errors import CannotWrite, NotSaved
from niwaki.forecast.hardware import Place
from niwaki.forecast.shelf import Shelf
from niwaki.packed import Packing
from niwaki.recipes import foresight
from niwaki.recipes.record import RunRecord
from niwaki.report import schema
from niwaki.sealing import seal
from niwaki.train import checkpoints

INPUTS = torch.zeros(2, 6)


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@cache
def small() -> nn.Module:
    return nk.prune(dense(), INPUTS, nk.methods.magnitude(nk.Ratio(0.5)))


def certificate() -> Any:
    plan = nk.plan_of(small())
    assert plan is not None
    return nk.certify(dense(), plan, small(), INPUTS)


def exported(package: str, write: Callable[..., Any], name: str) -> Callable[[Path], Any]:
    def go(folder: Path) -> None:
        pytest.importorskip(package)
        write(small(), INPUTS, folder / name)

    return go


WRITERS: dict[str, Callable[[Path], Any]] = {
    "nk.save": lambda folder: nk.save(small(), folder),
    "nk.save in shards": lambda folder: nk.save(small(), folder, shard_bytes=100),
    "a plan": lambda folder: nk.plan_of(small()).save(folder / "plan.json"),  # type: ignore[union-attr]
    "a certificate": lambda folder: certificate().save(folder / "certificate.json"),
    "a packing": lambda folder: Packing().save(folder / "packing.json"),
    "a file of weights": lambda folder: disk.write_file({"x": torch.zeros(9)}, folder / "x.safetensors"),
    "a sealed state": lambda folder: seal({"x": 1}, folder / "x.pt"),
    "a report's file": lambda folder: schema.write(folder / "report.json", "{}"),
    "a document": lambda folder: write_json(folder / "card.json", "card", {"x": 1}),
    "a forecast": lambda folder: foresight.save([], folder / "forecast.json"),
    "a record": lambda folder: RunRecord(folder / "record.jsonl").close(),
    "a bench's result": lambda folder: results.write(folder / "result.json", {"x": 1}),
    "ONNX": exported("onnxscript", nk.export.onnx, "model.onnx"),
    "torch.export": exported("torch", nk.export.torch_export, "model.pt2"),
    "OpenVINO": exported("openvino", nk.export.openvino, "model.xml"),
}


def inside(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_written_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    write, folder = WRITERS[name], tmp_path / "out"
    if name != "nk.save":
        folder.mkdir()
    write(folder)
    before = inside(folder)
    assert before

    def refused(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(CannotWrite, match=rf"{tmp_path.name}/out/[\w.-]+ cannot be written: the disk .*What was there"):
        write(folder)
    assert inside(folder) == before
    monkeypatch.undo()
    write(folder)


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("a plan", "a certificate", "a packing")])
def test_a_file_where_the_folder_must_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(CannotWrite, match="a file is where its folder must be"):
        WRITERS[name](tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_what_may_be_missing_ends_no_run(tmp_path: Path) -> None:
    """A state that is saved now and then, the state beside a trainer's checkpoint, and times kept for other runs."""
    (tmp_path / "file").write_text("")
    model = dense()
    run = nk.Pruning(model, torch.optim.SGD(model.parameters()), nk.methods.magnitude(nk.Ratio(0.5)), INPUTS)
    with pytest.warns(NotSaved, match=r"is a checkpoint without the state of the run.*a file is where its folder"):
        checkpoints.write(run, tmp_path / "file", {})
    shelf = Shelf(Place.of(dense(), "pytorch", 1), tmp_path / "file")
    with pytest.warns(NotSaved, match=r"times of layers are not kept for other runs.*a file is where its folder"):
        shelf.add({})


def test_a_record_of_a_full_disk_is_told(tmp_path: Path) -> None:
    """The real thing: a device that is always full."""
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no device that is always full")
    record = RunRecord(tmp_path / "record.jsonl")
    record.close()
    with Path("/dev/full").open("a") as always:
        record._file = always
        with pytest.raises(CannotWrite, match=r"record.jsonl cannot be written: the disk is full"):
            record({"k": "x" * 100_000})


def test_savepoints_on_a_real_full_disk(disk_of_a_megabyte: Path) -> None:
    """The run goes on, and from the last state that found room."""
    points = savepoints.Savepoints(disk_of_a_megabyte)
    points.load()
    for k, size in enumerate((80_000, 80_000)):
        assert points.save({"k": k, "x": torch.zeros(size)})
    with pytest.warns(NotSaved, match=r"the disk is full .*there is room for"):
        assert not points.save({"k": 2, "x": torch.zeros(120_000)})
    found = savepoints.Savepoints(disk_of_a_megabyte).load()
    assert found is not None
    assert found["k"] == 1
    assert points.save({"k": 3, "x": torch.zeros(80_000)})
