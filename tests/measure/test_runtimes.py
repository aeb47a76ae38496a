"""Each runtime computes what the model computes, and is timed beside others of its kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, MissingExtra
from niwaki.measure import RUNTIMES, latency, runtimes

NEEDS = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(self.first(x)) - self.second(y)


INPUTS: dict[str, Any] = {
    "positional": (torch.randn(2, 4), torch.randn(2, 4)),
    "by name": {"x": torch.randn(2, 4), "y": torch.randn(2, 4)},
}


def need(runtime: str) -> None:
    for package in NEEDS.get(runtime, ()):
        pytest.importorskip(package)


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "compile"])
@pytest.mark.parametrize("kind", INPUTS)
def test_models_are_timed_in_every_runtime(runtime: str, kind: str) -> None:
    need(runtime)
    model = TwoInputs()
    found = latency({"one": model, "two": model}, INPUTS[kind], runtime=runtime, runs=3, warmup=1)
    assert [timing.runs for timing in found.values()] == [3, 3]
    assert all((timing.ready_s > 0) == (runtime != "pytorch") for timing in found.values())
    assert model.training


def test_a_compiled_model_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is a copy in eval mode; the model itself is left as it was."""
    seen: list[nn.Module] = []

    def compile_(model: nn.Module, dynamic: bool) -> nn.Module:
        assert not dynamic
        seen.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    model = TwoInputs()
    latency(model, INPUTS["positional"], runtime="compile", runs=1, warmup=0)
    assert [type(each) for each in seen] == [TwoInputs]
    assert seen[0] is not model
    assert not seen[0].training
    assert model.training


def test_runtimes_are_told_by_name() -> None:
    with pytest.raises(BadInput, match="no runtime is called 'onxruntime'; did you mean 'onnxruntime'"):
        runtimes.ready(nn.Linear(2, 2), torch.ones(1, 2), "onxruntime")


@pytest.mark.parametrize("kind", INPUTS)
def test_openvino_equals_torch_and_is_certified(tmp_path: Path, kind: str) -> None:
    need("openvino")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)).train()
    x = torch.randn(2, 3, 6, 6)
    plan = nk.plan(nk.trace(net, x))
    cut = nk.cut(net, plan)
    many = kind == "positional"
    path = tmp_path / "deep" / "small.xml"
    assert nk.export.openvino(cut, x if many else {"input": x}, path, dynamic_batch=many) == path
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.bin", "small.xml"]
    assert cut.training
    session = nk.export.openvino_session(path)
    cut.eval()
    for batch in (2, 5) if many else (2,):
        more = torch.randn(batch, 3, 6, 6)
        with torch.no_grad():
            torch.testing.assert_close(session(more)[0], cut(more), rtol=1e-4, atol=1e-5)
    assert nk.certify(net, plan, cut, x, exported=session).holds


def test_openvino_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    with pytest.raises(BadInput, match=r"end in \.xml, with a \.bin beside it; name .*model\.xml"):
        nk.export.openvino(nn.Linear(2, 2), torch.ones(1, 2), tmp_path / "model.onnx")
    with pytest.raises(BadInput, match="dynamic_batch needs positional inputs"):
        nk.export.openvino(nn.Linear(2, 2), {"input": torch.ones(1, 2)}, tmp_path / "model.xml", dynamic_batch=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="no file of OpenVINO at"):
        nk.export.openvino_session(tmp_path / "none.xml")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"niwaki\[openvino\]"):
        nk.export.openvino(nn.Linear(2, 2), torch.ones(1, 2), tmp_path / "model.xml")
