"""One row, one contestant, one seed: prune, retrain, measure; in as many pieces as it takes."""

from __future__ import annotations

import copy
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from niwaki import measure
from niwaki.bench.contestants import Contestant
from niwaki.bench.record import Record
from niwaki.bench.rows import Row
from niwaki.bench.settings import Settings
from niwaki.errors import BrokenFile
from niwaki.pruning import Pruning, prune
from niwaki.recipes.phases import longest, thinning
from niwaki.recipes.rates import rate
from niwaki.surgery.cut import cut_, plan_of
from niwaki.surgery.store import save
from niwaki.units import Plan
from niwaki.vision.jobs.training import loss

if TYPE_CHECKING:
    from niwaki.vision.images import Batches, Images

VERSION = 1
Tick = Callable[[str], None]
"""Called after every step of training, with a word on how it goes."""


class TimeIsUp(Exception):
    """The time that was given is spent; what was done is kept."""


@dataclass(frozen=True)
class Base:
    """The dense network that all start from, with its accuracy (0 to 1) and the hash of its file."""

    model: nn.Module
    accuracy: float
    sha256: str


@dataclass(frozen=True)
class Home:
    """Where jobs live and compute. ``until``: when they must stop (seconds of ``time.monotonic``)."""

    folder: Path
    device: torch.device
    images: Images
    until: float = float("inf")
    save_every: float = 60.0


@dataclass
class Progress:
    """How far a job has come. ``epoch`` and ``step`` count in the phase; ``spent`` are seconds by phase; ``pruned`` is
    the accuracy before retraining, ``pressed`` the steps of pressing, ``history`` the accuracy after each epoch."""

    phase: str = "prune"
    epoch: int = 0
    step: int = 0
    spent: dict[str, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    pruned: float | None = None
    pressed: int = 0


class Job:
    """Runs until it is done or the time is up; what it had done before is read from its checkpoint.

    Args:
        row, contestant, seed, settings: what to do. base: from which network. home: where.
    """

    def __init__(self, row: Row, contestant: Contestant, seed: int, settings: Settings, base: Base, home: Home):
        self.row, self.contestant, self.seed, self.settings = row, contestant, seed, settings
        self.base, self.home = base, home
        self.name = f"{row.name}.{contestant.name}.{seed}"
        self.method = contestant.method(row.target, settings)
        self._at = Progress()
        self._saved = time.monotonic()

    @property
    def result(self) -> Path:
        """The file of results; it is there when the job is done."""
        return self.home.folder / "results" / f"{self.name}.json"

    @property
    def _checkpoint(self) -> Path:
        return self.home.folder / "checkpoints" / f"{self.name}.pt"

    def total(self) -> int:
        """About how many steps it takes."""
        pressing = longest(self.method.body) or 0
        return pressing + self._epochs() * (len(self.home.images.train) // self.settings.batch)

    def done(self) -> dict[str, Any] | None:
        """The results, if they are there.

        Raises:
            BrokenFile: they are of other settings, of another base network or of fewer images.
        """
        if not self.result.is_file():
            return None
        found: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        self._check(self.result, found, found["base"]["sha256"])
        return found

    def run(self, tick: Tick = lambda said: None) -> dict[str, Any]:
        """Do what is left to do, and give the results.

        Raises:
            TimeIsUp: before it was done; call again to go on.
            BrokenFile: its checkpoint, or its results, are of other settings.
        """
        done = self.done()
        if done is not None:
            return done
        torch.manual_seed(self.seed)
        state = self._read()
        small = self._prune(state, tick)
        self._retrain(small, state, tick)
        return self._conclude(small)

    # -- pruning --------------------------------------------------------------------------------------------------

    def _prune(self, state: dict[str, Any] | None, tick: Tick) -> nn.Module:
        """The small network as it leaves pruning; or, from the checkpoint, as it was in retraining."""
        model = copy.deepcopy(self.base.model)
        example = self._example()
        if self._at.phase == "retrain":
            assert state is not None
            cut_(model, Plan.from_json(state["plan"]))
            model.load_state_dict(state["model"])
            return model
        if self.method.takes_time:
            model = self._press(model, state, tick)
        else:
            start = time.perf_counter()
            model = prune(model, example, self.method)
            self._spend("prune", start)
        self._at.pruned = self._accuracy(model)
        self._at.phase, self._at.epoch, self._at.step = "retrain", 0, 0
        if self.contestant.fresh:
            model = self._anew(model)
        return model

    def _press(self, model: nn.Module, state: dict[str, Any] | None, tick: Tick) -> nn.Module:
        s = self.settings
        optimizer = self._sgd(model, s.prune_lr)
        record = Record(
            self.home.folder / "records" / f"{self.name}.jsonl", 0 if state is None else state["run"]["steps"]
        )
        run = Pruning(model, optimizer, self.method, self._example(), record=record, record_every=thinning(self.method))
        if state is not None:
            run.load_state_dict(state["run"])
            run.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        batches = self._batches(s.prune_batch)
        start = time.perf_counter()
        for images, labels in self._stream(batches, None):
            optimizer.zero_grad(set_to_none=True)
            loss = self._loss(run.model, images, labels)
            loss.backward()
            run.step()
            tick(f"penalty {max(run.pressure.values(), default=0.0):.3g}")
            if run.finished:
                break
            start = self._pause("prune", start, lambda: {"run": run.state_dict(), **_state(run.model, optimizer)})
        self._spend("prune", start)
        self._at.pressed = run.steps
        return run.model

    def _anew(self, small: nn.Module) -> nn.Module:
        """The small network with the weights of a new one."""
        plan = plan_of(small)
        assert plan is not None
        from niwaki.bench.rows import CLASSES, NETWORKS

        fresh = NETWORKS[self.row.network](CLASSES[self.row.data]).to(self.home.device)
        cut_(fresh, plan)
        return fresh.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # -- retraining -----------------------------------------------------------------------------------------------

    def _retrain(self, model: nn.Module, state: dict[str, Any] | None, tick: Tick) -> None:
        s, first = self.settings, self.contestant.lr(self.settings)
        optimizer = self._sgd(model, first)
        if state is not None and state["progress"]["phase"] == "retrain":
            optimizer.load_state_dict(state["optimizer"])
        batches, epochs = self._batches(s.batch), self._epochs()
        start = time.perf_counter()
        plan = plan_of(model)
        assert plan is not None

        def kept() -> dict[str, Any]:
            return {"plan": plan.to_json(), **_state(model, optimizer)}

        for images, labels in self._stream(batches, epochs):
            progress = (self._at.epoch + self._at.step / len(batches)) / epochs
            for group in optimizer.param_groups:
                group["lr"] = first * rate(self.contestant.schedule, progress)
            optimizer.zero_grad(set_to_none=True)
            loss = self._loss(model, images, labels)
            loss.backward()
            optimizer.step()
            tick(f"epoch {self._at.epoch + 1} of {epochs}")
            if self._at.step == len(batches) - 1:
                self._spend("retrain", start)
                self._at.history.append(self._accuracy(model))
                start = time.perf_counter()
            start = self._pause("retrain", start, kept)
        self._spend("retrain", start)

    def _epochs(self) -> int:
        """Epochs after the cut. From scratch: as many images as GReg-1 sees in pressing and retraining."""
        s = self.settings
        if not self.contestant.fresh:
            return s.epochs
        pressed = s.every * s.ceiling / s.grow + s.hold
        return s.epochs + round(pressed * s.prune_batch / len(self.home.images.train))

    def _stream(self, batches: Batches, epochs: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from where the job stands, and the place counted on while they are drawn."""
        at = self._at
        while epochs is None or at.epoch < epochs:
            batches.epoch = at.epoch
            for batch in itertools.islice(batches, at.step, None):
                yield batch
                at.step += 1
            at.epoch, at.step = at.epoch + 1, 0

    # -- the end --------------------------------------------------------------------------------------------------

    def _conclude(self, small: nn.Module) -> dict[str, Any]:
        example, at = self._example(), self._at
        dense_macs, macs = (measure.macs(m, example) for m in (self.base.model, small))
        images = len(self.home.images.train)
        timings = measure.latency({"dense": self.base.model, "small": small}, example, runs=30)
        found = {
            "version": VERSION,
            "row": self.row.name,
            "contestant": self.contestant.name,
            "seed": self.seed,
            "base": {"accuracy": self.base.accuracy, "sha256": self.base.sha256},
            "accuracy": at.history[-1],
            "best": max(at.history),
            "pruned": at.pruned,
            "history": at.history,
            "macs": macs,
            "speedup": dense_macs / macs,
            "params": measure.params(small),
            "params_removed": 1 - measure.params(small) / measure.params(self.base.model),
            "epochs": {"prune": at.pressed * self.settings.prune_batch / images, "retrain": self._epochs()},
            "seconds": {phase: round(seconds, 1) for phase, seconds in at.spent.items()},
            "images_per_second": self._speeds(images),
            "latency_ms": {name: round(t.median_ms, 4) for name, t in timings.items()},
            "settings": asdict(self.settings),
            "images": self._images(),
        }
        save(small, self.home.folder / "models" / self.name)
        _write(self.result, json.dumps(found, indent=1) + "\n")
        self._checkpoint.unlink(missing_ok=True)
        return found

    def _speeds(self, images: int) -> dict[str, float]:
        """Images per second of each phase."""
        at = self._at
        seen = {"prune": at.pressed * self.settings.prune_batch, "retrain": self._epochs() * images}
        return {phase: round(n / at.spent[phase], 1) for phase, n in seen.items() if n and at.spent.get(phase)}

    # -- state ----------------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any] | None:
        if not self._checkpoint.is_file():
            return None
        state: dict[str, Any] = torch.load(self._checkpoint, map_location=self.home.device, weights_only=True)
        self._check(self._checkpoint, state, state["base"])
        self._at = Progress(**state["progress"])
        return state

    def _check(self, path: Path, found: Mapping[str, Any], base: str) -> None:
        """Raise :class:`BrokenFile` unless this very job wrote the file."""
        told = "other settings or another base network"
        if found["settings"] == asdict(self.settings) and base == self.base.sha256:
            # Older files do not say how many images there were.
            if found.get("images", self._images()) == self._images():
                return
            told = f"{found['images']} training and test images, not {self._images()}"
        raise BrokenFile(f"{path} was written with {told}; remove it, or name another folder")

    def _images(self) -> list[int]:
        return [len(self.home.images.train), len(self.home.images.test)]

    def _pause(self, phase: str, start: float, state: Callable[[], dict[str, Any]]) -> float:
        """Keep a checkpoint if one is due; stop if the time is up."""
        now = time.monotonic()
        up = now >= self.home.until
        if not up and now - self._saved < self.home.save_every:
            return start
        self._spend(phase, start)
        # The batch that was just used counts as done.
        at = {**asdict(self._at), "step": self._at.step + 1}
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = self._checkpoint.with_suffix(".part")
        ours = {"settings": asdict(self.settings), "base": self.base.sha256, "images": self._images()}
        torch.save({"progress": at, **ours, **state()}, part)
        os.replace(part, self._checkpoint)
        self._saved = now
        if up:
            raise TimeIsUp(self.name)
        return time.perf_counter()

    def _spend(self, phase: str, start: float) -> None:
        self._at.spent[phase] = self._at.spent.get(phase, 0.0) + time.perf_counter() - start

    # -- training -------------------------------------------------------------------------------------------------

    def _example(self) -> Tensor:
        return torch.zeros(1, 3, 32, 32, device=self.home.device)

    def _sgd(self, model: nn.Module, lr: float) -> torch.optim.SGD:
        return torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=self.settings.weight_decay)

    def _batches(self, size: int) -> Batches:
        return self.home.images.batches(size, self.seed * 10_007, channels_last=True)

    def _loss(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        model.train()
        return loss(model, (images, labels))

    def _accuracy(self, model: nn.Module) -> float:
        return self.home.images.accuracy(model)


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


__all__ = ["Base", "Home", "Job", "TimeIsUp"]
