"""What cannot be traced is refused in a sentence that says what was found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, NothingToPrune, UntraceableModel


def convnet() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3))


@pytest.mark.parametrize(
    "shape", [(2, 4, 8, 8), (2, 8), (2, 3, 1, 1)], ids=["channels", "rank", "smaller than the kernel"]
)
def test_inputs_that_the_model_refuses_are_reported_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UntraceableModel) as told:
        nk.trace(convnet(), torch.ones(shape))
    text = str(told.value)
    assert text.startswith(f"Sequential could not be run on the inputs given (positional ({shape},), keywords {{}})")
    assert text.endswith("Check that model(*inputs) works by itself.")
    assert isinstance(told.value.__cause__, Exception)


def test_too_many_arguments_and_unknown_keywords_are_reported() -> None:
    with pytest.raises(UntraceableModel, match="TypeError"):
        nk.trace(convnet(), (torch.ones(2, 3, 8, 8), torch.ones(1)))
    with pytest.raises(UntraceableModel, match=r"keywords \{'pixels': \(2, 3, 8, 8\)\}"):
        nk.trace(convnet(), {"pixels": torch.ones(2, 3, 8, 8)})


@pytest.mark.parametrize("inputs", [None, 3, "image", {1, 2}])
def test_inputs_of_another_kind_are_refused(inputs: Any) -> None:
    found = f"inputs must be a tensor, a tuple .* or a dict .*, not {type(inputs).__name__}"
    with pytest.raises(BadInput, match=found):
        nk.trace(convnet(), inputs)


@pytest.mark.parametrize("model", [None, 3, torch.ones(2), nn.Linear, lambda x: x])
def test_what_is_no_module_is_refused(model: Any) -> None:
    with pytest.raises(BadInput, match=f"model must be a torch.nn.Module, not {type(model).__name__}"):
        nk.trace(model, torch.ones(2, 4))


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(BadInput, match="ReLU has no parameters: there is nothing to prune"):
        nk.trace(nn.ReLU(), torch.ones(2, 4))


def test_a_single_layer_has_nothing_to_give() -> None:
    with pytest.raises(NothingToPrune, match=r"nothing in Linear can be pruned\. The biggest causes: \(1\)"):
        nk.trace(nn.Linear(4, 3), torch.ones(2, 4))


def test_a_failing_model_is_left_in_its_own_mode() -> None:
    net = convnet().train()
    with pytest.raises(UntraceableModel):
        nk.trace(net, torch.ones(2, 8))
    assert all(m.training for m in net.modules())
