"""Inputs by name, weight decay of matrices alone, clipped gradients: what recipes for language models say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.recipes import Recipe, phases
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import build_inputs, gather, optimizer_for
from niwaki.recipes.made_up import Draw, read_named
from niwaki.recipes.progress import Teller
from niwaki.recipes.schema import OptimizerChoice
from niwaki.recipes.standing import Standing
from tests.recipes.kitchen import TRAINED, project

NAMED = {
    "input_ids": {"shape": [2, 50], "below": 7},
    "attention_mask": {"shape": [2, 50], "fill": 1},
    "noise": [2, 3],
}


def recipe(**changes: Any) -> Recipe:
    return Recipe.read({"model": "a:b", "inputs": NAMED, "method": "magnitude", "out": "x", **changes})


def test_inputs_by_name_are_what_is_said() -> None:
    read = recipe()
    assert Recipe.read(read.to_json()) == read
    found = build_inputs(read.inputs, torch.nn.Linear(1, 1), seed=3)
    again = build_inputs(read.inputs, torch.nn.Linear(1, 1), seed=3)
    other = build_inputs(read.inputs, torch.nn.Linear(1, 1), seed=4)
    assert isinstance(found, dict)
    assert list(found) == list(NAMED)
    assert {name: (tuple(t.shape), t.dtype) for name, t in found.items()} == {
        "input_ids": ((2, 50), torch.int64),
        "attention_mask": ((2, 50), torch.int64),
        "noise": ((2, 3), torch.float32),
    }
    assert set(found["input_ids"].flatten().tolist()) == set(range(7))
    assert set(found["attention_mask"].flatten().tolist()) == {1}
    assert all(torch.equal(found[name], again[name]) for name in NAMED)
    assert not torch.equal(found["input_ids"], other["input_ids"])


def test_shapes_in_a_list_stay_what_they_were() -> None:
    generator = torch.Generator().manual_seed(0)
    expected = torch.randn(2, 3, generator=generator)
    assert torch.equal(build_inputs(((2, 3),), torch.nn.Linear(1, 1), seed=0)[0], expected)


def test_a_model_is_run_on_inputs_by_name(tmp_path: Path) -> None:
    extra = """

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.first, self.last = nn.Embedding(9, 4), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, *, words, mask):
        return self.last(F.relu(self.first(self.table(words) * mask[..., None]).mean(1)))
"""
    inputs = {"words": {"shape": [2, 5], "below": 9}, "mask": {"shape": [2, 5], "fill": 1}}
    path, _ = project(tmp_path, extra, model="@Words", inputs=inputs)
    read = Recipe.load(path)
    with importing_from(read.folder):
        stuff = gather(read)
    assert {group.name for group in nk.trace(stuff.dense, stuff.inputs).groups} >= {"first"}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "inputs is empty; name the model's arguments"),
        ({"x": 3}, "inputs.x must be a shape such as [2, 16], or {shape: [2, 16], below: 1000}; found 3"),
        ({"x": [0, 3]}, "inputs.x must be a shape"),
        ({"x": {"below": 3}}, "inputs.x lacks 'shape'"),
        ({"x": {"shape": [2], "bellow": 3}}, "inputs.x has no 'bellow'; did you mean 'below'?"),
        ({"x": {"shape": [2], "below": 0}}, "inputs.x.below must be a whole number of at least 1, not 0"),
        ({"x": {"shape": [2], "fill": 0.5}}, "inputs.x.fill must be a whole number of at least 0, not 0.5"),
        ({"x": {"shape": [2], "below": 3, "fill": 1}}, "inputs.x has both 'below' and 'fill'"),
        ({1: [2]}, "inputs: keys must be words, not 1"),
    ],
)
def test_refused(inputs: Any, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        recipe(inputs=inputs)
    assert said in str(caught.value)


def test_a_draw_says_itself_again() -> None:
    for draw in (Draw((2, 3)), Draw((2,), below=5), Draw((2,), fill=0)):
        assert read_named({"x": draw.to_json()}) == {"x": draw}


# Optimizers.


def test_only_matrices_decay_where_that_is_said() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    said = {"name": "AdamW", "lr": 0.1, "weight_decay": 0.5, "decay": "matrices", "clip": 1.0}
    choice = OptimizerChoice.read("optimizer", said)
    assert choice.to_json() == said
    matrices, others = optimizer_for(choice, model).param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert [p.shape for p in matrices["params"]] == [(4, 3)]
    assert len(others["params"]) == 3
    plain = OptimizerChoice.read("optimizer", {"name": "AdamW", "lr": 0.1, "weight_decay": 0.5})
    assert [len(group["params"]) for group in optimizer_for(plain, model).param_groups] == [4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decay": "matrix"}, "optimizer.decay has no 'matrix'; did you mean 'matrices'?"),
        ({"clip": 0}, "optimizer.clip must be a number above 0, not 0"),
    ],
)
def test_options_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        OptimizerChoice.read("optimizer", {"name": "SGD", "lr": 1, **changes})
    assert said in str(caught.value)


def test_decay_without_a_weight_decay_is_refused() -> None:
    with pytest.raises(BadInput, match="decay is matrices, but there is no 'weight_decay'; set it"):
        optimizer_for(OptimizerChoice.read("optimizer", {"name": "SGD", "decay": "matrices"}), torch.nn.Linear(2, 2))


@pytest.mark.parametrize("phase", ["prune", "finetune"])
@pytest.mark.parametrize("clip", [None, 1e-3])
def test_gradients_are_as_long_as_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, clip: float | None
) -> None:
    optimizer = {"name": "SGD", "lr": 0.01, **({} if clip is None else {"clip": clip})}
    # A penalty too small to be seen: it is added to what was clipped.
    name = {"name": "greg1", "grow": 1e-12, "ceiling": 2e-12, "every": 1, "hold": 2} if phase == "prune" else {}
    method = {"name": "magnitude", "target": {"ratio": 0.5}, **name}
    path, _ = project(tmp_path, **{**TRAINED, "optimizer": optimizer}, method=method, finetune={"epochs": 1})
    lengths: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, closure: Any = None) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        lengths.append(float(torch.sqrt(sum((g**2).sum() for g in gradients))))
        return step(self, closure)

    read = Recipe.load(path)
    with importing_from(read.folder), closing(Standing(tmp_path, False)) as standing:
        stuff = gather(read)
        monkeypatch.setattr(torch.optim.SGD, "step", spy)
        if phase == "prune":
            phases.prune_with(stuff, stuff.dense, stuff.methods[0], standing, Teller(quiet=True))
        else:
            phases.finetune(stuff, phases.Pruned(stuff.dense, {}), standing, Teller(quiet=True), "x", 0)
    assert len(lengths) >= 3
    if clip is None:
        assert max(lengths) > 0.01
    else:
        assert lengths == pytest.approx([clip] * len(lengths), rel=1e-2)


def test_a_rate_that_rises_needs_batches_that_can_be_counted(tmp_path: Path) -> None:
    extra = "\n\nclass Stream:\n    def __iter__(self):\n        return iter(batches())\n"
    tuning = {"epochs": 1, "schedule": {"linear": {"warmup": 0.5}}}
    path, _ = project(tmp_path, extra, **{**TRAINED, "data": "@Stream"}, finetune=tuning)
    read = Recipe.load(path)
    with importing_from(read.folder), closing(Standing(tmp_path, False)) as standing:
        stuff = gather(read)
        with pytest.raises(BadInput, match="needs data whose batches have a len"):
            phases.finetune(stuff, phases.Pruned(stuff.dense, {}), standing, Teller(quiet=True), "x", 0)
