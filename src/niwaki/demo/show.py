"""The demo: train a small network on real images, prune it in two ways, prove it, export it, time it, show it.

After the dense training it is an ordinary recipe, written beside the results so that it can be read, changed and run
again with ``niwaki prune``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from niwaki.demo import job, training
from niwaki.disk import write_file
from niwaki.recipes.progress import Teller
from niwaki.recipes.run import run as carry_out
from niwaki.recipes.schema import Recipe
from niwaki.replacing import replacing, writable

TARGET = {"macs": 1 / 3, "round_to": 8}


@dataclass(frozen=True)
class Pace:
    """How long each phase is. ``grow`` per step and ``hold`` set the length of GReg-1's pressing."""

    dense: int
    clean: int
    grow: float
    hold: int
    finetune: int


FULL = Pace(dense=20, clean=3, grow=5e-4, hold=300, finetune=14)
FAST = Pace(dense=1, clean=0, grow=2e-2, hold=10, finetune=1)


def run(out: str | os.PathLike[str], seed: int = 0, fast: bool = False, *, command: str = "niwaki demo") -> int:
    """Run the whole demo; results go to ``out``. Returns 0 if every certificate holds and all was timed, else 1.

    Args:
        seed: of the weights, the order of the images and their augmentation.
        fast: a tenth of the training: shows that all works, not what it is worth.
    """
    start, pace, out = time.perf_counter(), FAST if fast else FULL, Path(out)
    teller = Teller()
    with _settings():
        _train_dense(out, seed, pace, teller)
        recipe = out / "recipe.yaml"
        with replacing(recipe) as part:
            part.write_text(_recipe_text(out, seed, pace), encoding="utf-8")
        finished = carry_out(Recipe.load(recipe), command=command, teller=teller)
    _say(finished.report.summary(), finished.page, time.perf_counter() - start)
    return 1 if finished.failing or finished.untimed else 0


@contextmanager
def _settings() -> Iterator[None]:
    """The fastest number of threads, and denormal numbers as zero: weights pressed towards zero would otherwise
    slow the processor down. Both are put back."""
    threads = torch.get_num_threads()
    torch.set_flush_denormal(True)
    training.best_threads(_rehearsal())
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def _train_dense(out: Path, seed: int, pace: Pace, teller: Teller) -> None:
    """Train the dense network and leave its weights in ``out/dense``."""
    writable(out / "dense")  # before it is trained
    torch.manual_seed(seed)
    model: nn.Module = job.build()
    batches = job.batches(seed)
    with teller.stage("train the dense network", pace.dense * len(batches)) as advance:
        training.train(
            model, batches, pace.dense, 0.1, clean=pace.clean, on_batch=lambda loss: advance(f"loss {loss:.2f}")
        )
    write_file({k: v.contiguous() for k, v in model.state_dict().items()}, out / "dense" / "model.safetensors")


def _rehearsal() -> Callable[[], None]:
    """A few training steps of a network of the same shape, to be timed."""
    model = job.build()
    batch = (job.inputs(), torch.zeros(job.BATCH, dtype=torch.int64))

    def steps() -> None:
        for _ in range(4):
            job.loss(model, batch).backward()

    return steps


def _recipe_text(out: Path, seed: int, pace: Pace) -> str:
    greg = {"name": "greg1", "label": "GReg-1", "target": TARGET, "grow": pace.grow, "every": 1, "hold": pace.hold}
    recipe: dict[str, Any] = {
        "model": "niwaki.demo.job:build",
        "weights": "dense/model.safetensors",
        "inputs": "niwaki.demo.job:inputs",
        "data": "niwaki.demo.job:batches",
        "loss": "niwaki.demo.job:loss",
        "evaluate": "niwaki.demo.job:accuracy",
        "method": [{"name": "magnitude", "label": "L1, one shot", "target": TARGET}, {**greg, "parted": 1.0e5}],
        "optimizer": _sgd(0.02),
        "finetune": {"epochs": pace.finetune, "optimizer": _sgd(0.05), "schedule": "cosine"},
        "seed": seed,
        "out": str(out.resolve()),
        "export": ["onnx"],
        "measure": {"runtimes": ["pytorch", "onnxruntime"], "threads": 1, "runs": 40},
    }
    return "# Made by niwaki demo; run it again with: niwaki prune recipe.yaml\n" + yaml.safe_dump(
        recipe, sort_keys=False
    )


def _sgd(lr: float) -> dict[str, Any]:
    return {"name": "SGD", "lr": lr, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def _say(table: Any, page: Path, seconds: float) -> None:
    from rich.console import Console

    console = Console()
    console.print(table)
    console.print(f"Report: {page}   ({seconds:.0f} s in all)", highlight=False, soft_wrap=True)
