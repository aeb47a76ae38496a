"""A packed model in ONNX Runtime answers as the masked one does, whatever its forms."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.packed.portable import portable
from niwaki.packing import FORMS, PackedLinear
from tests.packing.models import masked
from tests.packing.test_pack import far


def two() -> tuple[nn.Module, torch.Tensor]:
    """A wide layer of a few rows, and one of single entries all over."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 30)).eval()
    with torch.no_grad():
        net[0].weight[5:] = 0
        net[0].weight[:5] *= torch.rand(5, 40) < 0.5
        net[2].weight *= torch.rand(30, 60) < 0.4
    return net, torch.randn(3, 40)


def test_single_entries_become_rows_and_columns_or_dense() -> None:
    net, x = two()
    packed = nk.pack(net, x, forms="sparse", remove=False)
    found, told = portable(packed)
    assert told == {"0": "rows_columns", "2": "dense"}
    assert (type(found[0]), type(found[2])) == (PackedLinear, nn.Linear)
    assert found[0].values is None
    assert found[0].core.shape[0] == 5
    assert far(net, found, x) < 1e-6
    assert packed[0].values is not None


def test_a_model_without_single_entries_is_exported_as_it_is() -> None:
    net, x = two()
    packed = nk.pack(net, x, forms="rows", remove=False)
    assert portable(packed) == (packed, {})
    assert portable(net) == (net, {})


def test_the_weights_of_transformers_conv1d_are_turned_round_once() -> None:
    pytest.importorskip("transformers")
    model, inputs, others = masked("gpt2", "patterned")
    found, told = portable(nk.pack(model, inputs, forms="core_sparse"))
    assert told
    assert far(model, found, others) < 1e-5


@pytest.mark.parametrize("form", FORMS[1:])
def test_onnx_runtime_gives_the_same(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    net, x = two()
    packed = nk.pack(net, x, forms=form, remove=False)
    with caplog.at_level(logging.WARNING, logger="niwaki"):
        session = nk.export.onnx_session(nk.export.onnx(packed, x, tmp_path / "packed.onnx"))
    assert nk.certify_packed(net, packed, x, exported=session).holds
    told = [r.getMessage() for r in caplog.records if "single entries" in r.getMessage()]
    if form in ("sparse", "core_sparse"):
        assert any("are written as" in line and line.endswith(": 2") for line in told)
    else:
        assert told == []


def test_onnx_takes_other_batch_sizes(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    net, x = two()
    packed = nk.pack(net, x, forms={"0": "rows_columns"}, remove=False)
    path = nk.export.onnx(packed, (x,), tmp_path / "packed.onnx", dynamic="batch")
    more = torch.randn(7, 40)
    with torch.no_grad():
        assert torch.allclose(nk.export.onnx_session(path)(more)[0], net(more), atol=1e-5)


@pytest.mark.parametrize("form", ["rows_columns", "core_sparse"])
def test_torch_export_takes_every_form(form: str, tmp_path: Path) -> None:
    net, x = two()
    packed = nk.pack(net, x, forms=form, remove=False)
    program = torch.export.load(nk.export.torch_export(packed, x, tmp_path / "packed.pt2"))
    with torch.no_grad():
        assert torch.allclose(program.module()(x), net(x), atol=1e-5)


@pytest.mark.parametrize("form", ["sparse", "core_sparse"])
def test_torch_export_takes_other_batch_sizes(form: str, tmp_path: Path) -> None:
    """On both sides of the number of vectors that a layer takes at once."""
    net, x = two()
    packed = nk.pack(net, x, forms=form, remove=False)
    path = nk.export.torch_export(packed, x, tmp_path / "packed.pt2", dynamic="batch")
    for rows in (2, 300):
        more = torch.randn(rows, 40)
        with torch.no_grad():
            assert torch.allclose(nk.export.torch_session(path)(more)[0], net(more), atol=1e-5)


def test_multiply_adds_of_single_entries_are_counted() -> None:
    net, x = two()
    packed = nk.pack(net, x, forms="sparse", remove=False)
    assert nk.measure.macs(packed, x) == 3 * sum(len(packed[k].values) for k in (0, 2))
    rows = nk.pack(net, x, forms={"0": "rows"}, remove=False)
    assert nk.measure.macs(rows, x) == 3 * (5 * 40 + 60 * 30)
