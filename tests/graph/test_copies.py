"""Copies of models: what users keep on parameters goes along, as the copy's own."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.graph.copies import duplicate


def kept(value: Any) -> tuple[nn.Sequential, nn.Sequential, Any]:
    """A model with this on a parameter, its copy, and what is on the copy's."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    vars(model[0].weight)["mine"] = value(model) if callable(value) else value
    twin = duplicate(model)
    return model, twin, vars(twin[0].weight)["mine"]


def test_a_module_or_a_parameter_is_that_of_the_copy() -> None:
    for look in (lambda m: m[2], lambda m: m[2].weight, lambda m: m[0].weight):
        _, twin, found = kept(look)
        assert found is look(twin)


def test_a_dict_or_a_tensor_is_the_copy_s_own() -> None:
    model, twin, found = kept(lambda m: {"score": torch.ones(2), "of": [m[0].bias], "decay": False})
    vars(model[0].weight)["mine"]["score"].zero_()
    assert found["score"].tolist() == [1, 1]
    assert found["of"][0] is twin[0].bias
    assert found["decay"] is False


def test_what_was_computed_keeps_its_values_and_what_cannot_be_copied_is_shared() -> None:
    _, _, found = kept(lambda m: m[0].bias * 0 + 2)
    assert found.tolist() == [2, 2, 2]
    assert not found.requires_grad
    lock = threading.Lock()
    assert kept(lambda m: {"lock": lock})[2]["lock"] is lock


LAYOUTS = {
    "sparse_coo": lambda w: w.to_sparse(),
    "sparse_csr": lambda w: w.to_sparse_csr(),
    "sparse_csc": lambda w: w.to_sparse_csc(),
    "sparse_bsr": lambda w: w.to_sparse_bsr((2, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_weight_is_refused_by_its_name_and_its_dense_form_is_taken(layout: str) -> None:
    model, inputs = nn.Sequential(nn.Linear(8, 8)).eval(), torch.ones(2, 8)
    sparse = LAYOUTS[layout](model[0].weight.detach() * (model[0].weight.detach().abs() > 0.2))
    model[0].weight = nn.Parameter(sparse, requires_grad=False)
    for use in (lambda: nk.pack(model, inputs), lambda: nk.prune(model, inputs, nk.methods.magnitude(nk.Ratio(0.5)))):
        with pytest.raises(BadInput, match=rf"'0\.weight' of Sequential is sparse \(torch\.{layout}\).*to_dense\(\)"):
            use()
    model[0].weight = nn.Parameter(model[0].weight.to_dense(), requires_grad=False)
    assert nk.packing_of(nk.pack(model, inputs, measure=False)) is not None


def test_a_sparse_buffer_is_copied() -> None:
    model = nn.Linear(2, 3)
    model.register_buffer("near", torch.eye(4).to_sparse())
    assert torch.equal(duplicate(model).near.to_dense(), torch.eye(4))
