"""One run: a dense phase and a round for each share of zeros, looked at at the end of each."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_model

from niwaki import pattern
from niwaki.bench import results
from niwaki.bench.spur.contestants import Contestant
from niwaki.errors import BrokenFile
from niwaki.place import device
from niwaki.recipes.progress import Teller
from niwaki.replacing import made
from niwaki.savepoints import Savepoints
from niwaki.schedules import per_round
from niwaki.surgery.multiplied import matrices
from niwaki.surgery.singles import single_weights
from niwaki.text.finetuning import Finetuning, Settings, adamw
from niwaki.train.engine import Pruning

if TYPE_CHECKING:
    from niwaki.bench.spur.study import Study

VERSION = 1
WARMUP = 0.1
EVERY = 200  # steps from one checkpoint to the next


@dataclass(frozen=True)
class Job:
    """A contestant with one factor and one seed."""

    study: Study
    name: str
    contestant: Contestant
    shares: tuple[float, ...]
    alpha: float | None
    seed: int

    @property
    def stem(self) -> str:
        """Of its files."""
        factor = "" if self.alpha is None else f".{self.alpha:g}"
        upto = f".{self.shares[-1]:g}" if self.contestant.at_once else ""
        subject = self.study.subject
        return f"{subject.name}.{subject.model_name}.{self.name}{upto}{factor}.{self.seed}"

    @property
    def told(self) -> dict[str, Any]:
        """What a result must agree on."""
        s = self.study
        settings = {"epochs": s.epochs, "lr": s.lr, **s.subject.settings}
        return {
            "version": VERSION,
            "task": s.subject.name,
            "measure": s.subject.measure,
            "encoder": s.subject.model_name,
            "contestant": self.name,
            "alpha": self.alpha,
            "seed": self.seed,
            "shares": list(self.shares),
            "settings": settings,
        }

    def run(self, teller: Teller) -> dict[str, Any]:
        """Its result: made, gone on with, or read."""
        path = self.study.out / "jobs" / f"{self.stem}.json"
        found = results.read(path, self.told)
        if found is None:
            found = {**self.told, **_Running(self).to_the_end(teller)}
            results.write(path, found)
        return found


@dataclass
class _Running:
    """A job under way."""

    job: Job
    rounds: list[dict[str, Any]] = field(default_factory=list)
    core_s: float = 0.0

    def __post_init__(self) -> None:
        study, subject = self.job.study, self.job.study.subject
        epochs = study.epochs * (len(self.job.shares) + 1)
        settings = Settings(epochs, study.lr, subject.size, seed=self.job.seed)
        self.model = subject.model(self.job.seed).to(device())
        optimizer = adamw(self.model, settings.lr, settings.weight_decay)
        self.tuning = Finetuning(self.model, subject.parts.train, settings, optimizer=optimizer, loss=subject.loss)
        steps = self.tuning.each * study.epochs
        method = self.job.contestant.method(self.job.shares, steps, self.job.alpha, subject.where)
        self.pruning = Pruning(self.model, optimizer, method, (), record=self._told)
        self.tuning.step, self.tuning.rate = self.pruning.step, per_round(method.rounds, WARMUP)

    def to_the_end(self, teller: Teller) -> dict[str, Any]:
        """Train on from where it is; the rounds' figures and what they cost."""
        points = Savepoints.beside(self.job.study.out / "jobs" / f"{self.job.stem}.pt")
        found = points.load()
        if found is not None:
            self._load(found)
        with teller.stage(self.job.stem, self.tuning.steps - self.tuning.done) as tick:
            while self.tuning.done < self.tuning.steps:
                start = time.process_time()
                self.tuning.run(lambda done, steps, loss: tick(f"loss {loss:.3f}"), self.tuning.done + EVERY)
                self.core_s += time.process_time() - start
                self._save(points)
        self._look()
        points.clear()
        return {"rounds": self.rounds, "steps": self.tuning.steps, "core_s": self.core_s}

    def _told(self, row: dict[str, Any]) -> None:
        """The record's row about a choice comes while the weights are still as the round before has left them."""
        if row["event"] == "choose" and not self.job.contestant.at_once:
            self._look()

    def _look(self) -> None:
        """How good the model is now, and where its zeros are, of which a method may have made more than it was asked
        to."""
        job, subject = self.job, self.job.study.subject
        every = single_weights(self.model)
        weights = {name: every[name].detach() for name in self._names()}
        patterns = {name: pattern.look(weight) for name, weight in matrices(weights, every.inputs)}
        share = sum(int((w == 0).sum()) for w in weights.values()) / sum(w.numel() for w in weights.values())
        asked = job.shares[-1] if job.contestant.at_once else (0.0, *job.shares)[len(self.rounds)]
        self.rounds.append(
            {
                "asked": asked,
                "share": round(share, 4),
                "held_out": subject.measured(self.model, subject.parts.held_out)[subject.measure],
                "reported": subject.measured(self.model, subject.parts.reported),
                "pattern": asdict(pattern.summary(patterns)),
            }
        )
        if asked >= 0.5:
            save_model(self.model, str(self._models() / f"{job.stem}.{asked:.3g}.safetensors"))

    def _names(self) -> list[str]:
        return [name for name in single_weights(self.model) if fnmatchcase(name, self.job.study.subject.where)]

    def _models(self) -> Path:
        place = self.job.study.out / "models"
        made(place)
        return place

    def _save(self, points: Savepoints) -> None:
        state = {
            "told": json.dumps(self.job.told),
            "tuning": self.tuning.state_dict(),
            "pruning": self.pruning.state_dict(),
            "rounds": json.dumps(self.rounds),
            "core_s": self.core_s,
        }
        points.save(state)

    def _load(self, state: dict[str, Any]) -> None:
        if json.loads(state["told"]) != self.job.told:
            raise BrokenFile(
                f"the checkpoint of {self.job.stem} is of other settings; remove it, or name another folder"
            )
        self.pruning.load_state_dict(state["pruning"])
        self.tuning.load_state_dict(state["tuning"])
        self.rounds, self.core_s = json.loads(state["rounds"]), state["core_s"]


__all__ = ["Job"]
