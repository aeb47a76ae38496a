"""The certificate of a packed model holds where it must, and not where one thing is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from tests.packing.models import made, masked


def test_it_holds_on_all_inputs_forward_and_gradient(tmp_path: Path) -> None:
    model, inputs, others = masked("tied", "patterned")
    packed = nk.pack(model, inputs, forms="core_sparse")
    nk.save(packed, tmp_path)
    back = nk.load(tmp_path, model)
    certificate = nk.certify_packed(model, packed, inputs, more=[others, inputs * 3], reloaded=back, exported=packed)
    assert certificate.holds
    assert [(c.name, c.against, c.kind, c.detail) for c in certificate.checks] == [
        ("packed", "masked", "forward", ""),
        ("packed", "masked", "forward", "more[0]"),
        ("packed", "masked", "forward", "more[1]"),
        ("packed", "masked", "gradient", ""),
        ("reloaded", "packed", "forward", ""),
        ("exported", "packed", "forward", "as given"),
        ("exported", "packed", "forward", "seed 1"),
        ("exported", "packed", "forward", "also[0]"),
        ("exported", "packed", "forward", "also[1]"),
    ]
    assert json.loads(certificate.save(tmp_path / "certificate.json").read_text())["holds"]
    assert certificate.fingerprint == nk.certify_packed(model, packed, inputs).fingerprint


def fails(model: nn.Module, packed: nn.Module, inputs: torch.Tensor, **rest: object) -> set[str]:
    found = nk.certify_packed(model, packed, inputs, **rest)
    return {f"{c.name} {c.kind} {c.detail}".strip() for c in found.checks if not c.holds}


def test_each_check_sees_its_fault() -> None:
    model, inputs, others = masked("mlp", "patterned")
    packed = nk.pack(model, inputs, forms={"0": "core_sparse"}, remove=False)
    wrong = copy.deepcopy(packed)
    with torch.no_grad():
        wrong[0].values[0] *= 1.01
    assert fails(model, packed, inputs, more=[others]) == set()
    assert fails(model, wrong, inputs, more=[others]) == {"packed forward", "packed forward more[0]", "packed gradient"}
    assert fails(model, packed, inputs, reloaded=wrong) == {"reloaded forward"}
    assert fails(model, packed, inputs, exported=wrong) == {"exported forward as given", "exported forward seed 1"}


def test_a_gradient_that_does_not_arrive_is_seen() -> None:
    model, inputs, _ = masked("mlp", "patterned")
    packed = nk.pack(model, inputs, forms={"0": "core_sparse"}, remove=False)
    forward = packed[0].forward
    packed[0].forward = lambda x: forward(x).detach()
    assert fails(model, packed, inputs) == {"packed gradient"}


def test_gradients_of_what_is_left_of_tensors_that_were_cut() -> None:
    """Removed neurons, folded constants, and packed layers in one model; frozen ones too."""
    model, inputs, others = made("mlp")
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[2].weight[:, 6:9] = 0
        model[2].weight[::2, 10:] = 0
    model[0].weight.requires_grad_(False)
    packed = nk.pack(model, inputs, forms="sparse")
    assert [r.count for r in nk.packing_of(packed).removed] == [8]
    certificate = nk.certify_packed(model, packed, inputs, more=[others])
    assert certificate.holds
    assert not model[0].weight.requires_grad
    assert all(p.grad is None for p in [*model.parameters(), *packed.parameters()])


def test_rounding_is_told_from_a_difference() -> None:
    """A deep network in which rounding blows up holds in float64, and with a fault it does not."""
    torch.manual_seed(0)
    net = nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())))
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
        for layer in net[::2]:
            layer.weight[:, ::3] *= torch.rand(64, 22) < 0.1
    x = torch.randn(4, 64)
    packed = nk.pack(net, x, forms="core_sparse", remove=False)
    strict = nk.certify_packed(net, packed, x, tolerance=1e-9)
    assert strict.holds
    assert strict.checks[0].detail.startswith("in float64; as it is: ")
    with torch.no_grad():
        packed[0].values[0] += 1e-3
    assert not nk.certify_packed(net, packed, x, tolerance=1e-9).holds


def test_what_was_not_packed_is_refused() -> None:
    model, inputs, _ = made("mlp")
    with pytest.raises(BadInput, match=r"Sequential was not packed by niwaki: give what nk\.pack gave back"):
        nk.certify_packed(model, model, inputs)
