"""One row, one contestant, one seed: prune, retrain, measure; in as many pieces as it takes."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from niwaki import measure
from niwaki.bench import results
from niwaki.bench.greg.contestants import Contestant
from niwaki.bench.greg.keeping import Keeper, Stamp, State, TimeIsUp
from niwaki.bench.greg.record import Record
from niwaki.bench.greg.rows import CLASSES, NETWORKS, Row
from niwaki.bench.greg.settings import Settings
from niwaki.methods import Method, magnitude
from niwaki.pruning import Pruning, prune
from niwaki.recipes.phases import thinning
from niwaki.recipes.rates import rate
from niwaki.surgery.cut import cut_, plan_of
from niwaki.surgery.store import save
from niwaki.targets import Macs
from niwaki.units import Plan
from niwaki.vision.jobs.training import loss, taught_loss

if TYPE_CHECKING:
    from niwaki.vision.images import Batches, Images

VERSION = 1
Tick = Callable[[str], None]
"""Called after every step of training, with a word on how it goes."""


@dataclass(frozen=True)
class Base:
    """The dense network that all start from, with its accuracy (0 to 1) and the hash of its file."""

    model: nn.Module
    accuracy: float
    sha256: str


@dataclass(frozen=True)
class Home:
    """Where jobs live and compute. ``until``: when they must stop (seconds of ``time.monotonic``). ``compiled``: train
    through ``torch.compile``, whose sums are ordered otherwise: faster, and not to the last bit the same."""

    folder: Path
    device: torch.device
    images: Images
    until: float = float("inf")
    save_every: float = 60.0
    compiled: bool = False


class Job:
    """Runs until it is done or the time is up; what it had done before is read from its checkpoint.

    Args:
        row, contestant, seed, settings: what to do. base: from which network. home: where.
    """

    def __init__(self, row: Row, contestant: Contestant, seed: int, settings: Settings, base: Base, home: Home):
        self.row, self.contestant, self.seed, self.settings = row, contestant, seed, settings
        self.base, self.home = base, home
        self.name = f"{row.name}.{contestant.name}.{seed}"
        self._stamp = Stamp(asdict(settings), base.sha256, (len(home.images.train), len(home.images.test)))
        checkpoint = home.folder / "checkpoints" / f"{self.name}.pt"
        self._keeper = Keeper(checkpoint, self._stamp, home.until, home.save_every)

    @cached_property
    def method(self) -> Method:
        """What prunes; the first time it is asked for it may have to count multiply-adds."""
        target = self._by_macs() if self.contestant.everywhere else self.row.target
        return self.contestant.method(target, self.settings, self.seed)

    def _by_macs(self) -> Macs:
        """As many multiply-adds as the row's shares leave, wherever in the row's groups."""
        example, dense = self._example(), self.base.model
        small = prune(dense, example, magnitude(self.row.target))
        share = measure.macs(small, example) / measure.macs(dense, example)
        patterns = tuple(pattern for pattern, removed in self.row.removed.items() if removed)
        kept = tuple(pattern for pattern, removed in self.row.removed.items() if not removed)
        return Macs(share, only=patterns, skip=kept, scope="global")

    @property
    def result(self) -> Path:
        """The file of results; it is there when the job is done."""
        return self.home.folder / "results" / f"{self.name}.json"

    def total(self) -> int:
        """About how many steps it takes."""
        pressing = self.method.body.longest or 0
        return pressing + self._epochs() * (len(self.home.images.train) // self.settings.batch)

    def done(self) -> dict[str, Any] | None:
        """The results, if they are there.

        Raises:
            BrokenFile: they are of other settings, of another base network or of fewer images.
        """
        if not self.result.is_file():
            return None
        found: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        self._stamp.check(self.result, found, found["base"]["sha256"])
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
        state = self._keeper.read()
        small = self._prune(state, tick)
        self._retrain(small, state, tick)
        return self._conclude(small)

    # -- pruning --------------------------------------------------------------------------------------------------

    def _prune(self, state: State | None, tick: Tick) -> nn.Module:
        """The small network as it leaves pruning; or, from the checkpoint, as it was in retraining."""
        model, at = copy.deepcopy(self.base.model), self._keeper.at
        if at.phase == "retrain":
            assert state is not None
            cut_(model, Plan.from_json(state["plan"]))
            model.load_state_dict(state["model"])
            return model
        self._keeper.start()
        if self.method.takes_time:
            model = self._press(model, state, tick)
        else:
            model = prune(model, self._example(), self.method)
        self._keeper.spend("prune")
        at.pruned = self._accuracy(model)
        at.enter("retrain")
        return self._anew(model) if self.contestant.fresh else model

    def _press(self, model: nn.Module, state: State | None, tick: Tick) -> nn.Module:
        s = self.settings
        optimizer = self._sgd(model, s.prune_lr)
        path = self.home.folder / "records" / f"{self.name}.jsonl"
        record = Record(path, 0 if state is None else state["rows"])
        run = Pruning(model, optimizer, self.method, self._example(), record=record, record_every=thinning(self.method))
        if state is not None:
            run.load_state_dict(state["run"])
            run.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        forward = self._forward(model)
        for batch in self._stream(self._batches(s.prune_batch), None):
            optimizer.zero_grad(set_to_none=True)
            loss(forward, batch).backward()
            run.step()
            tick(f"penalty {max(run.pressure.values(), default=0.0):.3g}")
            if run.finished:
                break
            self._keeper.pause(
                "prune", lambda: {"run": run.state_dict(), "rows": record.rows, **_state(run.model, optimizer)}
            )
        self._keeper.at.pressed = run.steps
        return run.model

    def _anew(self, small: nn.Module) -> nn.Module:
        """The small network with the weights of a new one."""
        plan = plan_of(small)
        assert plan is not None
        fresh = NETWORKS[self.row.network](CLASSES[self.row.data]).to(self.home.device)
        cut_(fresh, plan)
        return fresh.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # -- retraining -----------------------------------------------------------------------------------------------

    def _retrain(self, model: nn.Module, state: State | None, tick: Tick) -> None:
        s, first, keeper = self.settings, self.contestant.lr(self.settings), self._keeper
        optimizer = self._sgd(model, first)
        if state is not None and state["progress"]["phase"] == "retrain":
            optimizer.load_state_dict(state["optimizer"])
        batches, epochs, at = self._batches(s.batch), self._epochs(), keeper.at
        plan, learn = plan_of(model), self._loss(model)
        assert plan is not None
        keeper.start()
        for batch in self._stream(batches, epochs):
            progress = (at.epoch + at.step / len(batches)) / epochs
            for group in optimizer.param_groups:
                group["lr"] = first * rate(self.contestant.schedule, progress)
            optimizer.zero_grad(set_to_none=True)
            learn(batch).backward()
            optimizer.step()
            tick(f"epoch {at.epoch + 1} of {epochs}")
            if at.step == len(batches) - 1:
                keeper.spend("retrain")
                at.history.append(self._accuracy(model))
                keeper.start()
            keeper.pause("retrain", lambda: {"plan": plan.to_json(), **_state(model, optimizer)})
        keeper.spend("retrain")

    def _epochs(self) -> int:
        """Epochs after the cut."""
        s = self.settings
        if not self.contestant.as_long:
            return round(s.epochs * self.contestant.longer)
        pressed = s.every * s.ceiling / s.grow + s.hold
        return s.epochs + round(pressed * s.prune_batch / len(self.home.images.train))

    def _stream(self, batches: Batches, epochs: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from where the job stands, and the place counted on while they are drawn."""
        at = self._keeper.at
        while epochs is None or at.epoch < epochs:
            batches.epoch = at.epoch
            for batch in itertools.islice(batches, at.step, None):
                yield batch
                at.step += 1
            at.epoch, at.step = at.epoch + 1, 0

    # -- the end --------------------------------------------------------------------------------------------------

    def _conclude(self, small: nn.Module) -> dict[str, Any]:
        example, at = self._example(), self._keeper.at
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
            "core_seconds": {phase: round(seconds, 1) for phase, seconds in at.core.items()},
            "threads": torch.get_num_threads(),
            "compiled": self.home.compiled,
            "images_per_second": self._speeds(images),
            "latency_ms": {name: round(t.median_ms, 4) for name, t in timings.items()},
            "settings": asdict(self.settings),
            "images": list(self._stamp.images),
        }
        save(small, self.home.folder / "models" / self.name)
        results.write(self.result, found)
        self._keeper.finish()
        return found

    def _speeds(self, images: int) -> dict[str, float]:
        """Images per second of each phase."""
        at = self._keeper.at
        seen = {"prune": at.pressed * self.settings.prune_batch, "retrain": self._epochs() * images}
        return {phase: round(n / at.spent[phase], 1) for phase, n in seen.items() if n and at.spent.get(phase)}

    # -- training -------------------------------------------------------------------------------------------------

    def _example(self) -> Tensor:
        return torch.zeros(1, 3, 32, 32, device=self.home.device)

    def _forward(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """The model in training mode, as a step calls it."""
        model.train()
        return torch.compile(model) if self.home.compiled else model

    def _loss(self, model: nn.Module) -> Callable[[tuple[Tensor, Tensor]], Tensor]:
        """Of retraining."""
        forward = self._forward(model)
        if self.contestant.taught:
            return lambda batch: taught_loss(forward, self.base.model, batch)
        return lambda batch: loss(forward, batch)

    def _sgd(self, model: nn.Module, lr: float) -> torch.optim.SGD:
        return torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=self.settings.weight_decay)

    def _batches(self, size: int) -> Batches:
        return self.home.images.batches(size, self.seed, channels_last=True)

    def _accuracy(self, model: nn.Module) -> float:
        return self.home.images.accuracy(model)


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


__all__ = ["Base", "Home", "Job", "TimeIsUp"]
