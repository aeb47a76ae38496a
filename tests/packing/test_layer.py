"""A packed layer gives what the dense one gives: forward, gradient, shapes, types, memory; in every form."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.packed import FORMS, PackedLinear, split
from niwaki.packed import layer as room

MASKS = ("half", "nothing", "rows", "columns", "one entry")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


def dense(mask: str = "half", dtype: torch.dtype = torch.float32, *, bias: bool = True) -> nn.Linear:
    """9 → 7 under a mask."""
    torch.manual_seed(0)
    layer = nn.Linear(9, 7, bias=bias, dtype=dtype)
    keep = torch.zeros(7, 9, dtype=torch.bool)
    if mask == "half":
        keep = torch.rand(7, 9) < 0.5
        keep[3], keep[:, 4] = False, False
    elif mask == "rows":
        keep[::2] = True
    elif mask == "columns":
        keep[:, ::3] = True
    elif mask == "one entry":
        keep[2, 5] = True
    with torch.no_grad():
        layer.weight.mul_(keep)
    return layer


def packed(layer: nn.Linear, form: str) -> PackedLinear:
    parts = split((layer.weight != 0).numpy(), form)
    bias = copy.deepcopy(layer.bias)
    return PackedLinear.of(layer.weight.detach(), parts, bias, transposed=False, trains=True)


def close(found: Tensor, wanted: Tensor) -> bool:
    found, wanted = found.detach(), wanted.detach()
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    return found.shape == wanted.shape and bool(
        ((found - wanted).abs() <= TOLERANCE[wanted.dtype] * max(scale, 1.0)).all()
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", FORMS)
def test_it_gives_what_the_dense_layer_gives(form: str, mask: str, bias: bool) -> None:
    layer = dense(mask, bias=bias)
    mine = packed(layer, form)
    for shape in ((9,), (5, 9), (2, 3, 9), (0, 9), (2, 0, 9), (1, 9), (300, 9), (130, 2, 9)):
        x = torch.randn(shape)
        found, wanted = mine(x), layer(x)
        assert close(found, wanted), (shape, found, wanted)
        assert found.is_contiguous()
        assert found.dtype == wanted.dtype
    turned = torch.randn(9, 5).t()  # not contiguous
    assert close(mine(turned), layer(turned))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("form", FORMS)
def test_in_every_precision(form: str, dtype: torch.dtype) -> None:
    layer = dense("half", dtype)
    x = torch.randn(4, 9, dtype=dtype)
    mine = packed(layer, form)
    assert mine(x).dtype == dtype
    assert close(mine(x), layer(x))


@pytest.mark.parametrize("form", FORMS)
def test_under_autocast(form: str) -> None:
    layer, x = dense(), torch.randn(4, 9)
    mine = packed(layer, form)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = mine(x), layer(x)
        assert found.dtype == wanted.dtype == torch.bfloat16
        assert close(found, wanted)
        half = x.bfloat16()
        assert close(mine(half), layer(half))
    with pytest.raises(RuntimeError, match=r"dtype|type"):
        mine(half)


@pytest.mark.parametrize("count", [5, 300])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_input_and_parameters(form: str, count: int) -> None:
    layer = dense("half")
    mine = packed(layer, form)
    x = torch.randn(count, 9)
    left, right = (x.clone().requires_grad_() for _ in range(2))
    layer(left).sin().sum().backward()
    mine(right).sin().sum().backward()
    assert torch.allclose(right.grad, left.grad, atol=1e-4)
    assert torch.allclose(mine.bias.grad, layer.bias.grad, atol=1e-4)
    for name, gradient in mine.parts_of(layer.weight.grad).items():
        assert torch.allclose(mine.get_parameter(name).grad, gradient, atol=1e-4), name


@pytest.mark.parametrize("form", FORMS)
def test_its_weight_is_the_dense_one_with_a_gradient(form: str) -> None:
    layer = dense("half")
    mine = packed(layer, form)
    assert torch.equal(mine.weight, layer.weight)
    x = torch.randn(3, 9)
    (F.linear(x, mine.weight) + mine(x)).sum().backward()
    (F.linear(x, layer.weight) + layer(x)).sum().backward()
    for name, gradient in mine.parts_of(layer.weight.grad).items():
        assert torch.allclose(mine.get_parameter(name).grad, gradient, atol=1e-5)
    turned = PackedLinear.of(
        layer.weight.detach(), split((layer.weight != 0).numpy(), form), None, transposed=True, trains=False
    )
    assert torch.equal(turned.weight, layer.weight.t())
    assert not any(p.requires_grad for p in turned.parameters())


def test_it_holds_no_more_than_it_says() -> None:
    """The names in the state, which are those in a saved file."""
    layer = dense("half")
    names = {
        "dense": ["core", "bias"],
        "rows": ["core", "bias", "places"],
        "columns": ["core", "bias", "columns"],
        "rows_columns": ["core", "bias", "columns", "places"],
        "sparse": ["core", "bias", "values", "indices", "starts"],
        "core_sparse": ["core", "bias", "values", "columns", "places", "indices", "starts"],
    }
    for form, wanted in names.items():
        assert list(packed(layer, form).state_dict()) == wanted
    mine = packed(layer, "sparse")
    assert mine.core.shape == (0, 0)
    assert mine.starts.tolist() == [0, *np.cumsum((layer.weight != 0).sum(1).numpy()).tolist()]
    assert repr(mine) == f"PackedLinear(9 → 7, core 0 × 0, {len(mine.values)} single entries)"


def test_it_is_copied_moved_and_filled_like_any_layer() -> None:
    layer = dense("half")
    mine = packed(layer, "core_sparse")
    other = PackedLinear(mine.sizes, nn.Parameter(torch.zeros(7)))
    assert other(torch.ones(2, 9)).abs().max() == 0
    other.load_state_dict(mine.state_dict())
    x = torch.randn(4, 9)
    assert torch.equal(other(x), mine(x))
    assert torch.equal(copy.deepcopy(mine)(x), mine(x))
    assert mine.double()(x.double()).dtype == torch.float64


def test_a_wrong_index_is_a_fault() -> None:
    def spoilt(form: str, name: str, index: int, value: int) -> list[str]:
        mine = packed(dense("half"), form)
        assert list(mine.faults()) == []
        getattr(mine, name)[index] = value
        return list(mine.faults())

    assert spoilt("rows_columns", "columns", 0, -1) == ["'columns' must ascend from 0 to at most 8"]
    assert spoilt("rows_columns", "columns", -1, 9) == ["'columns' must ascend from 0 to at most 8"]
    assert spoilt("rows_columns", "columns", 1, 0) == ["'columns' must ascend from 0 to at most 8"]
    assert spoilt("rows_columns", "places", 0, 5) == ["'places' must give each of 6 rows one place, in their order"]
    assert spoilt("rows_columns", "places", 0, 99) == ["'places' must give each of 6 rows one place, in their order"]
    assert spoilt("sparse", "indices", 0, 9) == ["'indices' must be from 0 to 8"]
    assert spoilt("sparse", "indices", 0, -1) == ["'indices' must be from 0 to 8"]
    count = int((dense("half").weight != 0).sum())
    for index, value in ((0, 1), (-1, count + 1), (2, count)):
        assert spoilt("sparse", "starts", index, value) == [f"'starts' must ascend from 0 to {count}"]


@pytest.mark.parametrize("form", ["rows", "columns", "sparse"])
def test_a_planted_fault_is_seen(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the laws above look at can go wrong."""
    layer, x = dense("half"), torch.randn(4, 9)
    if form == "sparse":
        monkeypatch.setattr(room.PackedLinear, "_rest_rows", lambda self, v: torch.zeros(7, v.shape[1]))
    mine = packed(layer, form)
    if form != "sparse":
        index = {"rows": mine.places, "columns": mine.columns}[form]
        index.copy_(index.flip(0))
    assert not close(mine(x), layer(x))
