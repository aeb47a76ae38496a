"""Heads of a real encoder (Table 2): who chooses them, how good it is at once, and after tuning."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn

from niwaki import methods
from niwaki.bench import results
from niwaki.errors import BadInput, nearest
from niwaki.methods import Method
from niwaki.pruning import prune
from niwaki.recipes.progress import Teller
from niwaki.savepoints import Savepoints
from niwaki.surgery.certify import certify
from niwaki.surgery.cut import plan_of
from niwaki.targets import Ratio
from niwaki.text.answers import loss, measured
from niwaki.text.batches import Batch, Tokens, tokenised, tokenizer
from niwaki.text.encoders import classifier
from niwaki.text.finetuning import Finetuning, Settings, finetune
from niwaki.text.tasks import Task
from niwaki.tracing import trace

VERSION = 1
SAMPLES = 1280
PRUNERS: Mapping[str, Callable[[Sequence[str], float, int], Method]] = {
    "uniform": lambda names, share, seed: methods.random(_each(names, share), seed=seed),
    "michel": lambda names, share, seed: methods.michel(
        Ratio(share, only=tuple(names), scope="global"), samples=SAMPLES, each=True
    ),
    "topk": lambda names, share, seed: methods.topk(_each(names, share), samples=SAMPLES),
    "ispasp": lambda names, share, seed: methods.ispasp(_each(names, share), samples=SAMPLES, mass="signed"),
    "ispasp absolute": lambda names, share, seed: methods.ispasp(_each(names, share), samples=SAMPLES),
    "ispasp fitted": lambda names, share, seed: methods.ispasp(_each(names, share), samples=SAMPLES, compensate=True),
}
"""Who chooses, of groups of heads, the share that goes and a seed."""
LABELS = {
    "uniform": "uniform, at random",
    "michel": "Michel et al., all layers together",
    "topk": "Top-K of hidden mass",
    "ispasp": "i-SpaSP, signed mass as in the paper",
    "ispasp absolute": "i-SpaSP, absolute mass",
    "ispasp fitted": "i-SpaSP, absolute mass, least squares",
}


def _each(names: Sequence[str], share: float) -> Ratio:
    return Ratio(dict.fromkeys(names, share))


@dataclass(frozen=True)
class Heads:
    """What is compared.

    Attributes:
        encoder: the folder of an encoder that was fine-tuned on the task. out: of the results; a cell that is there is
            not made again.
        kept: shares of the heads of each layer that stay. pruners: of ``PRUNERS``.
        seeds: how many; of the samples, of chance and of the order in tuning.
        tuning: after pruning, for all alike. rows: use only so many of the training part. max_length: tokens of a row.
    """

    task: Task
    encoder: Path
    out: Path
    kept: Sequence[float] = (0.25, 0.4)
    pruners: Sequence[str] = tuple(PRUNERS)
    seeds: int = 3
    tuning: Settings = field(default_factory=lambda: Settings(epochs=1))
    rows: int | None = None
    max_length: int = 128

    def __post_init__(self) -> None:
        for name in self.pruners:
            if name not in PRUNERS:
                hint = nearest(name, PRUNERS) or "."
                raise BadInput(f"no pruner is called {name!r}{hint} Known: {', '.join(PRUNERS)}.")

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """The results of all cells, each made once; they are files in ``out/heads``."""
        cells = [(seed, kept, name) for seed in range(self.seeds) for kept in self.kept for name in self.pruners]
        return [self._cell(seed, kept, name, teller or Teller()) for seed, kept, name in cells]

    def _cell(self, seed: int, kept: float, name: str, teller: Teller) -> dict[str, Any]:
        stem = f"{self.task.name}.{self.encoder.name}.{name.replace(' ', '-')}.{kept:g}.{seed}"
        path = self.out / "heads" / f"{stem}.json"
        done = results.read(path, self._told)
        if done is not None:
            return done
        small, figures = self._pruned(seed, kept, name, teller, stem)
        figures["after"] = self._tuned(small, seed, teller, stem)
        found = {**self._told, "pruner": name, "kept": kept, "seed": seed, "dense": self._dense, **figures}
        save_model(small, str(self.out / "heads" / f"{stem}.safetensors"))
        results.write(path, found)
        return found

    # -- a cell ---------------------------------------------------------------------------------------------------

    def _pruned(
        self, seed: int, kept: float, name: str, teller: Teller, title: str
    ) -> tuple[nn.Module, dict[str, Any]]:
        method = PRUNERS[name](self._names, 1 - kept, seed)
        told = loss if "loss" in method.needs else None
        start = time.process_time()
        with teller.wait(f"{title}: prune"):
            small = prune(self._model, self._inputs, method, data=self._samples(seed), loss=told)
            spent = time.process_time() - start
            plan = plan_of(small)
            assert plan is not None
            held = certify(self._model, plan, small, self._inputs).holds
        return small, {"before": self._measured(small), "prune_core_s": spent, "certified": held}

    def _tuned(self, small: nn.Module, seed: int, teller: Teller, title: str) -> float:
        settings = Settings(**{**asdict(self.tuning), "seed": seed})
        run = Finetuning(small, self._train, settings)
        checkpoint = self.out / "heads" / f"{title}.pt"
        with teller.stage(f"{title}: tune", run.steps) as tick:
            finetune(run, checkpoint, tell=lambda done, steps, value: tick(f"loss {value:.3f}"))
        Savepoints.beside(checkpoint).clear()
        return self._measured(small)

    # -- what all share -------------------------------------------------------------------------------------------

    @cached_property
    def _model(self) -> nn.Module:
        return classifier(self.encoder, self.task.classes).eval()

    @cached_property
    def _train(self) -> Tokens:
        found = tokenised(self.task.read("train"), tokenizer(self.encoder), self.max_length)
        return found if self.rows is None else found.rows(self.rows)

    @cached_property
    def _reported(self) -> Tokens:
        return tokenised(self.task.read(self.task.reported), tokenizer(self.encoder), self.max_length)

    @cached_property
    def _inputs(self) -> Batch:
        """Two rows to trace on."""
        batch = self._train.batch(torch.tensor([0, 1]))
        return {name: tensor for name, tensor in batch.items() if name != "labels"}

    @cached_property
    def _names(self) -> list[str]:
        found = [group.name for group in trace(self._model, self._inputs).groups if group.kind == "head"]
        if not found:
            raise BadInput(f"{self.encoder} has no heads that can be pruned; niwaki explain says why")
        return found

    @cached_property
    def _dense(self) -> float:
        return self._measured(self._model)

    def _samples(self, seed: int) -> list[Batch]:
        """Rows of the training part, with their labels for those who ask; like lengths together, for little padding."""
        generator = torch.Generator().manual_seed(1_000_003 * seed + 17)
        rows = torch.randperm(len(self._train), generator=generator)[:SAMPLES]
        rows = rows[self._train.lengths[rows].argsort(stable=True)]
        return [self._train.batch(some) for some in rows.split(64)]

    def _measured(self, model: nn.Module) -> float:
        return measured(model, self._reported, self.task.metrics[:1])[self.task.metrics[0]]

    @cached_property
    def _weights(self) -> str:
        """The beginning of the SHA-256 of the encoder's weights: a folder's name alone does not tell them."""
        return results.digest(self.encoder / "model.safetensors")[:12]

    @property
    def _told(self) -> dict[str, Any]:
        """What a result must agree on."""
        settings = json.loads(json.dumps({**asdict(self.tuning), "seed": None}))
        encoder = json.loads((self.encoder / "config.json").read_text(encoding="utf-8")).get("num_attention_heads")
        return {
            "version": VERSION,
            "task": self.task.name,
            "measure": self.task.metrics[0],
            "encoder": self.encoder.name,
            "heads": encoder,
            "tuning": settings,
            "rows": self.rows,
            "max_length": self.max_length,
            "weights": self._weights,
        }


def read(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder, by name."""
    return results.read_all(folder / "heads")


__all__ = ["LABELS", "PRUNERS", "Heads", "read"]
