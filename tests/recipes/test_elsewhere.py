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


TWICE = """
import torch
from torch import nn

class Answers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x, again):
        from transformers import DynamicCache

        y = self.b(torch.relu(self.a(x + again)))
        cache = DynamicCache()
        cache.update(y[:, None, None], y[:, None, None], 0)
        return {"first": y, "again": y, "cache": cache}

def build():
    torch.manual_seed(0)
    return Answers()
"""


def test_one_tensor_may_be_given_twice_and_caches_stay_at_home(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    (tmp_path / "twice_nets.py").write_text(TWICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    from twice_nets import build

    x = torch.ones(2, 4)
    small = nk.prune(build().eval(), (x, x), nk.methods.magnitude(nk.Ratio(0.5)))
    nk.save(small, tmp_path / "small")
    found = Elsewhere("twice_nets:build", {}, tmp_path / "small", [tmp_path])(x, x)
    wanted = small(x, x)["first"].detach()
    assert len(found) == 2
    assert all(torch.equal(each, wanted) for each in found)


def test_only_tensors_can_travel():
    assert can_travel((torch.ones(1),), {"mask": torch.ones(1)})
    assert not can_travel((torch.ones(1), 3), {})
