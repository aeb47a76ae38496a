"""The saved model in a fresh process."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import NiwakiError
from niwaki.recipes.elsewhere import Elsewhere, can_travel

NETS = """
from torch import nn

def build(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 4))
"""


def saved(folder):
    torch.manual_seed(3)
    dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    small = nk.prune(dense, torch.randn(2, 3, 8, 8), nk.methods.magnitude(nk.Ratio(0.5)))
    nk.save(small, folder / "small")
    (folder / "garden_nets.py").write_text(NETS)
    return small.eval()


def test_a_saved_model_gives_the_same_answers_in_a_fresh_process(tmp_path):
    small, x = saved(tmp_path), torch.randn(2, 3, 8, 8)
    (found,) = Elsewhere("garden_nets:build", {"width": 8}, tmp_path / "small", [tmp_path])(x)
    assert torch.equal(found, small(x).detach())


def test_a_model_that_does_not_load_there_is_told(tmp_path):
    saved(tmp_path)
    (tmp_path / "small" / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(NiwakiError, match=r"does not load in a fresh process.*safetensors"):
        Elsewhere("garden_nets:build", {}, tmp_path / "small", [tmp_path])(torch.randn(2, 3, 8, 8))


def test_only_tensors_can_travel():
    assert can_travel((torch.ones(1),), {"mask": torch.ones(1)})
    assert not can_travel((torch.ones(1), 3), {})
