"""A user's project written to disk: a module with a tiny network and its training, and a recipe beside it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

_NUMBERS = itertools.count()

CODE = """
import torch
from torch import nn
from torch.nn import functional as F

WEIGHT = 3.0


def build(width=8):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )


def inputs():
    return torch.zeros(2, 1, 6, 6)


def batches(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(4, 1, 6, 6, generator=draw), torch.tensor([0, 1, 2, 0])) for _ in range(3)]


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def accuracy(model):
    assert not model.training
    return 0.5
"""


def project(folder: Path, extra: str = "", **changes: Any) -> tuple[Path, str]:
    """Write a module of a fresh name and ``recipe.yaml`` into ``folder``; the recipe's path and the module's name.

    ``changes``: keys of the recipe; None leaves one out. ``"@name"`` stands for a function of the module.
    """
    module = f"garden_{next(_NUMBERS)}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(CODE + extra)
    given: dict[str, Any] = {
        "model": "@build",
        "inputs": [[2, 1, 6, 6]],
        "method": {"name": "magnitude", "target": {"ratio": 0.5}},
        "out": str(folder / "out"),
        "measure": {"runs": 0},
    }
    given = {k: v for k, v in (given | changes).items() if v is not None}
    given = {k: f"{module}:{v[1:]}" if isinstance(v, str) and v.startswith("@") else v for k, v in given.items()}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(given))
    return path, module


TRAINED: dict[str, Any] = {
    "data": "@batches",
    "loss": "@loss",
    "evaluate": "@accuracy",
    "optimizer": {"name": "SGD", "lr": 0.01, "momentum": 0.9},
}
GREG = {"name": "greg1", "target": {"ratio": 0.5}, "grow": 0.25, "every": 1, "hold": 2}


def in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes the time of a run where it is not what is looked at: fresh processes and drawings."""
    monkeypatch.setattr("niwaki.recipes.run.can_travel", lambda args, kwargs: False)
    monkeypatch.setattr("niwaki.report.page.render", lambda report: "")
