"""The job that is killed: a loop of one's own that prunes, cuts and fine-tunes, and saves its state every few steps."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki import methods
from niwaki.graph import Graph
from niwaki.methods import Method
from niwaki.pruning import Pruning
from niwaki.ranks import Ranks, local
from niwaki.savepoints import Savepoints
from niwaki.targets import Ratio
from niwaki.tracing import trace
from niwaki.wrappers import bare

EVERY = 3
"""Steps from one savepoint to the next."""
SAMPLES = 8
"""Of a step, over all ranks."""
Wrap = Literal["", "ddp", "fsdp"]
Signal = Callable[[str], None]
"""Told where the job is: "s" when it begins to save, "e" when it has saved, "d" when it is done."""

_INPUTS = torch.zeros(2, 1, 6, 6)
_SOME, _ALL = Ratio(0.4), Ratio(0.4, scope="global")
METHODS: dict[str, tuple[Method, int]] = {
    "magnitude": (methods.magnitude(_SOME), 18),
    "random": (methods.random(_SOME, seed=1), 18),
    "greg1": (methods.greg1(_SOME, grow=0.2, every=2, hold=5), 30),
    "greg2": (methods.greg2(_SOME, pick_grow=0.2, pick_at=0.4, grow=0.4, every=2, hold=4), 30),
    "fixreg": (methods.fixreg(_SOME, factor=0.5, steps=5, every=2, hold=4), 24),
    "ispasp": (methods.ispasp(_SOME, iters=3, tune=2), 24),
    "topk": (methods.topk(_SOME, tune=3), 24),
    "gfs": (methods.gfs(_SOME), 18),
    "michel": (methods.michel(_SOME), 18),
    "imp": (methods.imp(0.5, rounds=3, steps=5, dense=4, rewind=2), 30),
    "spur": (methods.spur(_ALL, rounds=3, steps=5, dense=4, alpha=0.01), 30),
    "gradual": (methods.gradual(0.6, steps=12, every=3), 24),
    "movement": (methods.movement(0.5, steps=8, every=2, dense=3, after=3), 24),
    "nm": (methods.nm("2:4"), 18),
}
"""Each in a hurry, with the steps of pruning and of fine-tuning after it."""


class Network(nn.Module):
    """Convolutions whose norms keep running means, a residual block, and dropout, which draws."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.up, self.down = nn.Conv2d(12, 16, 1), nn.Conv2d(16, 12, 1)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = x + self.down(F.relu(self.up(x)))
        head: Tensor = self.head(self.drop(x.mean((2, 3))))
        return head


def graph_of(model: nn.Module) -> Graph:
    """Of this very model; traced once for all that are built alike, since a life is short."""
    graph = copy.copy(_traced())
    graph.model = bare(model)
    return graph


@cache
def _traced() -> Graph:
    return trace(Network(), _INPUTS)


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Of one batch."""
    return F.cross_entropy(model(batch[0]), batch[1])


@dataclass(frozen=True)
class Exercise:
    """What is trained, and how: one case of the trials. ``fault``: something that the job forgets, to see that it is
    found out."""

    method: Method
    steps: int
    wrap: Wrap = ""
    fault: str = ""

    def train(self, folder: Path, signal: Signal = lambda where: None) -> str:
        """Train to the end, from the newest savepoint in the folder if there is one: a hash of all that the job ends
        with on this rank."""
        loop = Loop(self, folder)
        while loop.run.steps < self.steps:
            loop.step()
            if loop.run.steps % EVERY == 0:
                signal("s")
                loop.save()
                signal("e")
        return fingerprint(loop.state())


class Loop:
    """A training loop as users write it, with all that has a state: optimizer, scheduler, averaged copy, generators."""

    def __init__(self, exercise: Exercise, folder: Path) -> None:
        self.exercise, self.ranks = exercise, Ranks.here()
        torch.manual_seed(0)
        self.model = _wrapped(Network(), exercise.wrap)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3, foreach=False)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, exercise.steps)
        self.average = None if exercise.wrap else torch.optim.swa_utils.AveragedModel(self.model)
        graph = graph_of(self.model)
        torch.manual_seed(1 + self.ranks.rank)
        self.draw = torch.Generator().manual_seed(10 + self.ranks.rank)
        method, more = exercise.method, dict[str, Any](graph=graph, ema=self.average)
        if method.needs:
            more |= {"data": self._batches(), "loss": loss_of}
        self.run = Pruning(self.model, self.optimizer, method, _INPUTS, **more)
        self.points = Savepoints(folder)
        found = self.points.load()
        if found is not None:
            self.go_on(found)

    def step(self) -> None:
        """One step of the optimizer."""
        self.model.train()
        self.optimizer.zero_grad()
        loss_of(self.model, _batch(self.draw, SAMPLES // self.ranks.size)).backward()
        self.run.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def save(self) -> None:
        """A savepoint; one that cannot be written is an error here."""
        state = self.state()
        if self.exercise.fault == "count":
            state["run"]["steps"] += 1
        state.pop(self.exercise.fault, None)
        assert self.points.save(state), "a savepoint was not written"

    def state(self) -> dict[str, Any]:
        """All that the loop needs to go on."""
        told = {"run": self.run.state_dict(), "model": self.model.state_dict(), "drop": torch.get_rng_state()}
        told |= {"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}
        average = {} if self.average is None else self.average.state_dict()
        return {**told, "average": average, "draw": self.draw.get_state()}

    def go_on(self, state: dict[str, Any]) -> None:
        """From a state: the run's first, since it makes the cuts that the others must fit."""
        self.run.load_state_dict(state["run"])
        self.model.load_state_dict(state["model"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.draw.set_state(state["draw"])
        torch.set_rng_state(state["drop"])

    def _batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """To look at, of this rank."""
        draw = torch.Generator().manual_seed(100 + self.ranks.rank)
        return [_batch(draw, 4) for _ in range(4)]


def fingerprint(state: dict[str, Any]) -> str:
    """The SHA-256 of tensors and plain data, in hexadecimal; of a tensor in shards, this rank's own."""
    found = hashlib.sha256()
    _add(state, found)
    return found.hexdigest()


def _add(value: Any, found: Any) -> None:
    if isinstance(value, Tensor):
        own = local(value.detach()).cpu().contiguous()
        found.update(f"{own.dtype} {tuple(own.shape)}".encode())
        found.update(own.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key, each in value.items():
            found.update(repr(key).encode())
            _add(each, found)
    elif isinstance(value, list | tuple):
        found.update(str(len(value)).encode())
        for each in value:
            _add(each, found)
    else:
        found.update(repr(value).encode())


def _batch(draw: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 1, 6, 6, generator=draw), torch.randint(4, (count,), generator=draw)


def _wrapped(model: Network, wrap: Wrap) -> nn.Module:
    if wrap == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if wrap == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (Ranks.here().size,))
        fully_shard([model.up, model.down], mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


__all__ = ["EVERY", "METHODS", "Exercise", "Loop", "Signal", "Wrap", "fingerprint"]
