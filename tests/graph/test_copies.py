"""Copies of models: what users keep on parameters goes along, as the copy's own."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

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
