"""Exports compute what the model computes, and a missing package is named with its extra."""

from __future__ import annotations

import functools
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, MissingExtra
from niwaki.export.portability import in_order
from niwaki.export.samples import samples
from tests.export.formats import FORMATS, written


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


@functools.lru_cache
def places(length: int) -> torch.Tensor:
    return torch.arange(length).float()


class Placed(nn.Module):
    """Keeps a table where torch's own trace would leave a tensor without values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.leave = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(torch.relu(self.enter(x + places(x.shape[-1]))))


def test_tables_of_the_model_s_code_outlive_no_export(tmp_path: Path) -> None:
    places.cache_clear()
    model, x = Placed().eval(), torch.randn(2, 4)
    for name in ("first.pt2", "second.pt2"):
        path = nk.export.torch_export(model, x, tmp_path / name)
    assert type(model(x)) is torch.Tensor
    places.cache_clear()
    plan = nk.plan(nk.trace(model, x))
    small = nk.cut(model, plan)
    path = nk.export.torch_export(small, x, tmp_path / "small.pt2", dynamic="batch")
    assert nk.certify(model, plan, small, x, exported={"torch_export": path}, dynamic="batch").holds


@pytest.mark.parametrize("form", FORMATS)
def test_wrappers_are_taken_off(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, x = nn.Sequential(nn.Linear(4, 3)).eval(), torch.randn(2, 4)
    path = written(form, torch.compile(model, backend="eager"), {"input": x}, tmp_path, dynamic={"input": {0: "batch"}})
    assert "what is exported is of the Sequential inside" in caplog.text
    torch.testing.assert_close(nk.export.opened(path)(input=x)[0], model(x).detach())
    wrapped = next(iter(samples(torch.compile(model, backend="eager"), {"input": x}, {"input": {0: "batch"}})))
    assert wrapped.given


def test_bfloat16_is_not_written_for_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(BadInput, match=r"Linear holds bfloat16, for which ONNX Runtime .* write model\.float\(\)"):
        nk.export.onnx(nn.Linear(2, 2).bfloat16(), torch.ones(1, 2, dtype=torch.bfloat16), tmp_path / "x.onnx")


NAMES = ("first", "second")
A, B = torch.zeros(1), torch.ones(1)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((A, B), {}),
        ((A,), {"second": B}),
        ((), {"second": B, "first": A}),
        ((), {"one": A, "two": B}),  # the file knows none of these: in their order
        ((), {"second": B, "first": A, "scale": 2.0}),
    ],
)
def test_tensors_are_fed_by_name_or_in_their_order(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert [id(t) for t in in_order(NAMES, args, kwargs)] == [id(A), id(B)]


def test_tensors_in_a_list_have_the_names_that_they_were_written_with() -> None:
    found = in_order(("x", "more_deep_0"), (), {"more": {"deep": [B]}, "x": A})
    assert [id(t) for t in found] == [id(A), id(B)]


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {"secnd": B, "first": A}, "'secnd' is none of these; did you mean 'second'"),
        ((A,), {"first": B}, "'first' was given by place already"),
        ((), {"first": A}, r"takes 2 tensors \(first, second\), and 1 were given"),
        ((A, B), {"third": B}, "and 3 were given"),
    ],
)
def test_names_that_the_file_has_not_are_told(args: tuple[Any, ...], kwargs: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        in_order(NAMES, args, kwargs)
