"""Pooling by windows that are larger than what they pool, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.export.windows import ClippedWindows
from niwaki.testing.families import family
from tests.export.formats import FORMATS, written

PIXELS = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
POOLS: dict[str, nn.Module] = {
    "mean, far larger": nn.AvgPool2d(1280, ceil_mode=True),
    "mean, larger than its stride": nn.AvgPool2d(6, 3, ceil_mode=True),
    "mean, larger one way": nn.AvgPool2d((7, 2), ceil_mode=True),
    "largest, larger": nn.MaxPool2d(6, 3, ceil_mode=True),
    "mean along a line": nn.Sequential(nn.Flatten(2), nn.AvgPool1d(30, ceil_mode=True)),
    "largest along a line": nn.Sequential(nn.Flatten(2), nn.MaxPool1d(30, ceil_mode=True)),
}
DIVIDED = nn.AvgPool2d(6, ceil_mode=True, divisor_override=9)  # which torch.export alone can write
OTHERS: dict[str, nn.Module] = {
    "mean, fits": nn.AvgPool2d(3, 2, ceil_mode=True),
    "mean, padded": nn.AvgPool2d(6, 3, padding=2, ceil_mode=True),
    "mean, as large": nn.AvgPool2d(5),
    "largest, padded": nn.MaxPool2d(3, 2, padding=1),
    "largest, dilated": nn.MaxPool2d(2, dilation=2),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", [*POOLS, *OTHERS])
def test_files_pool_as_the_model_does(form: str, name: str, tmp_path: Path) -> None:
    """OpenVINO would give nothing at all, and no error."""
    pool = {**POOLS, **OTHERS}[name].eval()
    path = written(form, pool, PIXELS, tmp_path, dynamic="batch")
    (found,) = nk.export.opened(path)(PIXELS[:1])
    assert found.shape == pool(PIXELS[:1]).shape
    torch.testing.assert_close(found, pool(PIXELS[:1]))


@pytest.mark.parametrize("pool", [*POOLS.values(), *OTHERS.values(), DIVIDED], ids=str)
def test_clipping_changes_nothing(pool: nn.Module) -> None:
    with ClippedWindows():
        found = pool(PIXELS)
    torch.testing.assert_close(found, pool(PIXELS))


def test_a_network_that_pools_by_its_width(tmp_path: Path) -> None:
    """The EfficientNets of transformers."""
    pytest.importorskip("transformers")
    each = family("efficientnet")
    net, inputs = each.build(), each.inputs()
    plan = nk.plan(nk.trace(net, inputs), nk.scores.L1(), nk.Ratio(0.3))
    small = nk.cut(net, plan)
    path = written("openvino", small, inputs, tmp_path, dynamic="batch")
    found = nk.certify(net, plan, small, inputs, exported={"openvino": path}, dynamic="batch")
    assert [check for check in found.checks if check.kind == "forward" and not check.holds] == []
