"""Exports compute what the model computes, and a missing package is named with its extra."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, MissingExtra


def small() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)).eval()
    return nk.cut(net, nk.plan(nk.trace(net, torch.ones(2, 3, 6, 6))))


def test_torch_export_runs_without_the_model_and_equals_it(tmp_path: Path) -> None:
    model, x = small().train(), torch.randn(2, 3, 6, 6)
    path = nk.export.torch_export(model, x, tmp_path / "deep" / "small.pt2")
    assert path.is_file()
    assert model.training
    program = torch.export.load(path).module()
    with torch.no_grad():
        assert torch.equal(program(x), model.eval()(x))


def test_onnx_equals_torch_and_is_certified(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).train()
    x = torch.randn(2, 4)
    plan = nk.plan(nk.trace(net, x))
    cut = nk.cut(net, plan)
    level = logging.root.manager.disable
    path = nk.export.onnx(cut, x, tmp_path / "deep" / "small.onnx", dynamic="batch")
    assert [p.name for p in path.parent.iterdir()] == ["small.onnx"]
    assert cut.training
    assert logging.root.manager.disable == level
    session = nk.export.onnx_session(path)
    for batch in (2, 5):
        x = torch.randn(batch, 4)
        with torch.no_grad():
            torch.testing.assert_close(session(x)[0], cut(x), rtol=1e-5, atol=1e-6)
    assert nk.certify(net, plan, cut, x, exported=session).holds


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "onnxscript":
        pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtra, match=rf"{package} is not installed\. Install it with: pip install 'niwaki\[onnx\]'"
    ):
        nk.export.onnx(small(), torch.ones(2, 3, 6, 6), tmp_path / "x.onnx")


def test_a_missing_runtime_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingExtra, match=r"onnxruntime is not installed\. Install it with: pip install 'niwaki\[onnx\]'"
    ):
        nk.export.onnx_session(tmp_path / "x.onnx")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(BadInput, match=r"no ONNX file at .*nowhere\.onnx"):
        nk.export.onnx_session(tmp_path / "nowhere.onnx")
