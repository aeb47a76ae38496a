"""Jobs that are killed and started again: does each end as if nothing had happened?"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from niwaki.bench import results
from niwaki.bench.scale.faults_job import METHODS, Exercise, Network, Signal, Wrap, graph_of
from niwaki.bench.scale.faults_lives import Kill, Life, Work, live, warm
from niwaki.bench.scale.faults_recipe import RECIPES, carry_out
from niwaki.errors import BadInput, nearest
from niwaki.recipes.progress import Teller

KINDS = ("anywhere", "saving", "damaged")
"""Killed anywhere; while a savepoint is written; anywhere, and the newest file is damaged then, as by a power cut."""
_SHARES = (0.4, 0.4, 0.2)
_MOST = 3  # kills of one job
_OFTEN = 10  # trials of one method before the next one has its turn


Make = Callable[[Path], Work]
"""Of the folder for savepoints: what every process of a job does."""


@dataclass(frozen=True)
class Setting:
    """How jobs run: on so many ranks, wrapped in such a way; or as a recipe."""

    name: str
    ranks: int = 1
    wrap: Wrap = ""

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that are tried."""
        return tuple(RECIPES if self.name == "recipe" else METHODS)

    def job(self, method: str, fault: str = "") -> Make:
        """What is killed. ``fault``: what it forgets, see :class:`Order`."""
        if self.name == "recipe":
            return lambda folder: lambda rank, signal: carry_out(method, folder, signal)
        body, steps = METHODS[method]
        exercise = Exercise(body, steps, self.wrap, fault)
        return lambda folder: _work(exercise, folder, self.ranks)


SETTINGS = {
    setting.name: setting
    for setting in (Setting("alone"), Setting("ddp", 2, "ddp"), Setting("fsdp", 2, "fsdp"), Setting("recipe"))
}


@dataclass(frozen=True)
class Order:
    """What is tried: ``trials`` of each method in each setting. ``minutes``: begin no trial after that. ``fault``: what
    jobs forget (a key of their state, or ``count``: steps are counted wrong), to see that they are found out."""

    out: Path
    settings: Sequence[str] = tuple(SETTINGS)
    methods: Sequence[str] = tuple(METHODS)
    trials: int = 100
    minutes: float | None = None
    fault: str = ""

    def __post_init__(self) -> None:
        for given, known in ((self.methods, METHODS), (self.settings, SETTINGS)):
            for name in given:
                if name not in known:
                    raise BadInput(f"no {name!r} here{nearest(name, known) or '.'} Known: {', '.join(known)}.")


def run(order: Order, teller: Teller | None = None) -> list[results.Result]:
    """Carry out what is left to be tried; results are in ``out``, a file for each method in each setting."""
    warm()
    graph_of(Network())
    teller = teller or Teller()
    until = float("inf") if order.minutes is None else time.monotonic() + 60 * order.minutes
    settings = [SETTINGS[name] for name in order.settings]
    cells = [Cell(order, each, method) for each in settings for method in order.methods if method in each.methods]
    for most in range(_OFTEN, order.trials + _OFTEN, _OFTEN):  # where the time ends, all have as many
        for cell in cells:
            cell.run(min(most, order.trials), until, teller)
    return read(order.out)


def read(out: Path) -> list[results.Result]:
    """All results that are there."""
    return [found for name in SETTINGS for found in results.read_all(out / name)]


class Cell:
    """The trials of one method in one setting, behind those that are there."""

    def __init__(self, order: Order, setting: Setting, name: str) -> None:
        told = {"setting": asdict(setting), "method": name, "steps": METHODS[name][1], "fault": order.fault}
        self.name, self.path = f"{setting.name}, {name}", order.out / setting.name / f"{name}.json"
        self.found = results.read(self.path, told) or {**told, "trials": [], "missed": 0}
        self._begin = lambda: Trial(setting.job(name, order.fault), setting.ranks, setting.job(name))
        self._trial: Trial | None = None

    def run(self, most: int, until: float, teller: Teller) -> None:
        """Try until there are as many, or the time is up."""
        rows = self.found["trials"]
        if len(rows) >= most or time.monotonic() >= until:
            return
        with teller.stage(self.name, most, len(rows)) as tick:
            trial = self._trial = self._trial or self._begin()
            self.found["seconds"] = trial.whole.seconds
            while len(rows) < most and time.monotonic() < until:
                row = trial.run(f"{self.name}, {len(rows) + self.found['missed']}")
                if row["survived"] and not row["kills"]:  # done before the kill came: nothing was tried
                    self.found["missed"] += 1
                    continue
                rows.append(row)
                tick(f"{sum(not row['survived'] for row in rows)} lost")
        results.write(self.path, self.found)


class Trial:
    """Trials of one job, beside a run that nobody disturbs (of ``sound``, if the job itself is not)."""

    def __init__(self, job: Make, ranks: int, sound: Make | None = None) -> None:
        self.job, self.ranks = job, ranks
        for _ in "12":  # the first of a kind is slow
            with tempfile.TemporaryDirectory() as folder:
                self.whole = live((sound or job)(Path(folder)), ranks)
        if not self.whole.done:
            raise BadInput(f"the job does not run undisturbed: {self.whole.trouble or 'it hangs'}")

    def run(self, seed: str) -> dict[str, Any]:
        """One job, killed once or more often and started again: what was done to it, and whether it survived."""
        draw = random.Random(seed)
        kind = draw.choices(KINDS, _SHARES)[0]
        folder = Path(tempfile.mkdtemp())
        row: dict[str, Any] = {"kind": kind, "kills": 0, "writing": 0, "damaged": 0}
        try:
            for _ in range(draw.choice((1, 1, 2, _MOST))):
                life = self._live(folder, self._kill(kind, draw))
                if life.done or life.hangs or not life.killed:
                    break
                row["kills"] += 1
                row["writing"] += any(not part.name.startswith("probe.") for part in folder.rglob("*.part"))
                row["damaged"] += kind == "damaged" and damage(folder, draw)
            else:
                life = self._live(folder, None)
            return {**row, **self._verdict(life)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _verdict(self, life: Life) -> dict[str, Any]:
        if life.done and life.ends == self.whole.ends:
            return {"survived": True}
        if life.hangs:
            return {"survived": False, "why": "it hangs"}
        return {"survived": False, "why": life.trouble or "it ends otherwise"}

    def _live(self, folder: Path, kill: Kill | None) -> Life:
        return live(self.job(folder), self.ranks, kill)

    def _kill(self, kind: str, draw: random.Random) -> Kill:
        rank = draw.choice((None, *range(self.ranks))) if self.ranks > 1 else None
        if kind == "saving":
            saves = self.whole.saves
            return Kill(draw.uniform(0, 1.2 * sum(saves) / len(saves)), draw.randint(1, len(saves)), rank)
        return Kill(draw.uniform(0, self.whole.seconds), None, rank)


def damage(folder: Path, draw: random.Random) -> bool:
    """Cut the newest savepoint of some rank short, or change one bit of it; none that has no other before it."""
    files = sorted(folder.rglob("*.pt"))
    rank = draw.choice(sorted({path.name.partition(".rank")[2] for path in files}) or [""])
    mine = [path for path in files if path.name.partition(".rank")[2] == rank]
    if len(mine) < 2:
        return False
    data = bytearray(mine[-1].read_bytes())
    at = draw.randrange(len(data))
    if draw.random() < 0.5:
        del data[at:]
    else:
        data[at] ^= 1 << draw.randrange(8)
    mine[-1].write_bytes(data)
    return True


def _work(exercise: Exercise, folder: Path, ranks: int) -> Work:
    """What every process does. The store in which ranks find each other is new for each life."""
    if ranks == 1:
        return lambda rank, signal: exercise.train(folder, signal)
    store = Path(tempfile.mkdtemp(dir=folder)) / "store"

    def together(rank: int, signal: Signal) -> str:
        import torch.distributed as dist

        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        dist.init_process_group("gloo", store=dist.FileStore(str(store), ranks), rank=rank, world_size=ranks)
        return exercise.train(folder, signal)

    return together


__all__ = ["KINDS", "SETTINGS", "Order", "Setting", "Trial", "damage", "read", "run"]
