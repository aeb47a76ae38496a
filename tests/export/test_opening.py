"""A file of each format, opened, is a function of the model's arguments; what is no such file is refused."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, BrokenFile
from tests.export.formats import FORMATS, written


class Adding(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Mixed(nn.Module):
    """Three tensors that must not be mixed up, and a number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0, z: Tensor | None = None) -> dict[str, Any]:
        assert z is not None
        return {"sum": self.layer(x) * scale + 2 * y, "rest": (y - 3 * z, scale)}


@pytest.mark.parametrize("form", FORMATS)
def test_an_opened_file_takes_the_arguments_of_the_model(form: str, tmp_path: Path) -> None:
    model = Mixed().eval()
    x, y, z = torch.randn(3, 2, 4).unbind()
    given = {"x": x, "y": y, "scale": 2.0, "z": z}
    with torch.no_grad():
        wanted = model(**given)
    found = nk.export.opened(written(form, model, given, tmp_path))
    assert found.format == form
    for call in (given, dict(reversed(given.items()))):
        answers = found(**call)
        assert len(answers) == 2
        torch.testing.assert_close(answers[0], wanted["sum"])
        torch.testing.assert_close(answers[1], wanted["rest"][0])


@pytest.mark.parametrize("form", FORMATS)
def test_the_bytes_of_an_opened_file_count_the_weights_beside_it(form: str, tmp_path: Path) -> None:
    model = nn.Linear(100, 100)
    found = nk.export.opened(written(form, model, torch.ones(1, 100), tmp_path))
    assert found.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 40_400 < found.file_bytes < 60_000


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_too_few_tensors_are_told(form: str, tmp_path: Path) -> None:
    found = nk.export.opened(written(form, Adding(), (torch.ones(1, 3), torch.ones(1, 3)), tmp_path))
    with pytest.raises(BadInput, match=r"takes 2 tensors \(.*\), and 1 were given"):
        found(torch.ones(1, 3))


def test_other_endings_are_told() -> None:
    with pytest.raises(BadInput, match=r"'model.pt' has not the ending .* \.onnx \(onnx\), \.pt2 \(torch_export\)"):
        nk.export.opened("somewhere/model.pt")


def test_a_program_that_is_not_there_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no program of torch\.export at .*none\.pt2"):
        nk.export.opened(tmp_path / "none.pt2")
    (tmp_path / "bad.pt2").write_bytes(b"nothing of the kind")
    with pytest.raises(BrokenFile, match=r"bad\.pt2 is no program of torch\.export"):
        nk.export.opened(tmp_path / "bad.pt2")


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_was_cut_short_is_told(form: str, tmp_path: Path) -> None:
    path = written(form, nn.Linear(2, 2), torch.ones(1, 2), tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BrokenFile, match=re.escape(str(path))):
        nk.export.opened(path)


def test_a_program_that_lacks_a_record_is_told(tmp_path: Path) -> None:
    path = written("torch_export", nn.Linear(2, 2), torch.ones(1, 2), tmp_path)
    with zipfile.ZipFile(path) as old:
        names = {name: old.read(name) for name in old.namelist() if not name.endswith("weight_0")}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in names.items():
            new.writestr(name, content)
    with pytest.raises(BrokenFile, match=r"torch\.export could load"):
        nk.export.opened(path)


def test_weights_that_one_file_of_onnx_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie beside it, are counted, and go with an older file."""
    pytest.importorskip("onnxscript")
    from torch.onnx._internal.exporter import _onnx_program

    net, x = nn.Linear(40, 30).eval(), torch.ones(1, 40)
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    for _ in range(2):
        path = written("onnx", net, x, tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["small.onnx", "small.onnx.data"]
    found = nk.export.opened(path)
    torch.testing.assert_close(found(x)[0], net(x).detach())
    assert found.file_bytes > found.weight_bytes == 4 * (40 * 30 + 30)
    monkeypatch.undo()
    written("onnx", net, x, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["small.onnx"]


def test_bfloat16_is_not_written_for_openvino(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds bfloat16, which OpenVINO .* write model\.float\(\)"):
        written("openvino", nn.Linear(2, 2).bfloat16(), torch.ones(1, 2, dtype=torch.bfloat16), tmp_path)


class Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (pytest.fail, ("unpickled",))


def trapped() -> bytes:
    buffer = io.BytesIO()
    torch.save((Trap(),), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "at", ["data/sample_inputs/model.pt", "data/constants/custom_obj_0", "data/constants/opaque_obj_0/x", "twice"]
)
def test_a_program_that_would_be_unpickled_is_refused(at: str, tmp_path: Path) -> None:
    path = written("torch_export", nn.Linear(2, 2), torch.ones(1, 2), tmp_path)
    with zipfile.ZipFile(path) as old:
        names = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in (names | ({at: trapped()} if at != "twice" else {})).items():
            new.writestr(f"small/{name}", content)
        if at == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                new.writestr("small/byteorder", b"little")
    with pytest.raises(BrokenFile, match="would have to be unpickled"):
        nk.export.opened(path)
