"""A whole recipe that is killed: ``niwaki prune``, and ``niwaki prune --resume`` after it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from niwaki.bench.scale.faults_job import Signal

_HALF = {"ratio": 0.5}
RECIPES: dict[str, dict[str, Any]] = {
    "magnitude": {"name": "magnitude", "target": _HALF},
    "greg1": {"name": "greg1", "target": _HALF, "grow": 0.1, "every": 1, "hold": 4},
    "ispasp": {"name": "ispasp", "target": _HALF, "iters": 2, "tune": 3, "samples": 8},
    "imp": {"name": "imp", "target": _HALF, "rounds": 2, "steps": 6},
    "gradual": {"name": "gradual", "target": _HALF, "steps": 9, "every": 3},
}
"""Methods of recipes, in a hurry: one that takes no time, one that presses, one that looks at data, two that mask."""


def inputs() -> Tensor:
    """Of the recipe."""
    return torch.zeros(2, 1, 6, 6)


def batches(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Of the recipe."""
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(4, 1, 6, 6, generator=draw), torch.randint(4, (4,), generator=draw)) for _ in range(6)]


def carry_out(method: str, folder: Path, signal: Signal) -> str:
    """Carry the recipe out, from where it stands if it was begun: a hash of what it leaves. In a process of its own:
    savepoints are written at every step, and nothing is drawn."""
    from niwaki.recipes import Recipe
    from niwaki.recipes.progress import Teller
    from niwaki.recipes.run import run
    from niwaki.recipes.standing import RUN

    out = folder / "out"
    recipe = Recipe.read(_recipe(method, out), folder)
    with _in_a_hurry(signal):
        run(recipe, teller=Teller(quiet=True), resume=(out / RUN).is_file())
    found = hashlib.sha256()
    for name in ("model.safetensors", "plan.json"):
        found.update((out / method / name).read_bytes())
    return found.hexdigest()


def _recipe(method: str, out: Path) -> dict[str, Any]:
    here = "niwaki.bench.scale"
    return {
        "model": f"{here}.faults_job:Network",
        "inputs": f"{here}.faults_recipe:inputs",
        "data": f"{here}.faults_recipe:batches",
        "loss": f"{here}.faults_job:loss_of",
        "method": RECIPES[method],
        "optimizer": {"name": "SGD", "lr": 0.01, "momentum": 0.9},
        "finetune": {"epochs": 2},
        "out": str(out),
        "measure": {"runs": 0},
    }


@contextmanager
def _in_a_hurry(signal: Signal) -> Iterator[None]:
    from niwaki.recipes import run, standing
    from niwaki.report import page
    from niwaki.savepoints import Savepoints, State

    save = Savepoints.save

    def telling(self: Savepoints, state: State) -> bool:
        signal("s")
        saved = save(self, state)
        signal("e")
        return saved

    changed: list[tuple[Any, str, Any]] = [
        (standing, "SECONDS", 0.0),
        (Savepoints, "save", telling),
        (run, "can_travel", lambda args, kwargs: False),  # a fresh process takes longer than all the rest
        (page, "render", lambda report: ""),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in changed]
    try:
        for place, name, value in changed:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


__all__ = ["RECIPES", "batches", "carry_out", "inputs"]
