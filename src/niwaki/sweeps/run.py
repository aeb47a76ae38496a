"""Carry a sweep out: check all of it, build the dense network once, run what is left, time everything, and tell."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes.checks import plain
from niwaki.recipes.progress import Teller
from niwaki.recipes.standing import RUN
from niwaki.report import sweep as pages
from niwaki.sweeps import base as bases
from niwaki.sweeps import results
from niwaki.sweeps.gpus import alone_with, gpus
from niwaki.sweeps.grid import Trial, expand, require_fair
from niwaki.sweeps.ledger import TRIALS, Ledger, Outcome, locked, read_json
from niwaki.sweeps.live import Count, watching
from niwaki.sweeps.local import Local, Runner, workers_for
from niwaki.sweeps.schema import Sweep
from niwaki.sweeps.timing import time_all
from niwaki.wording import some


@dataclass(frozen=True)
class Options:
    """How a sweep is carried out, beside what it says itself.

    Attributes:
        only: a pattern such as ``greg1-*``: no other trials are run now.
        retry_failed: try those again that failed; they go on from their checkpoints.
        command: shown on the page, to do it again.
    """

    only: str = "*"
    retry_failed: bool = False
    command: str = "niwaki.sweeps.run"


@dataclass(frozen=True)
class Swept:
    """The end of a sweep: the page and what it tells (None if no trial is finished), the trials that failed, how many
    are left, and why the networks could not be timed, if so."""

    page: Path | None
    told: pages.Outcome | None
    failed: Mapping[str, Outcome]
    left: int
    untimed: str = ""


def checked(sweep: Sweep, only: str = "*") -> tuple[Trial, ...]:
    """All trials, each checked as far as it can be without building a network, and whether they may stand in one table.

    Raises:
        BadInput: something cannot be; the message names the trial.
    """
    trials = expand(sweep)
    if not matching(trials, only):
        raise BadInput(f"no trial is called like {only!r}; the first of {len(trials)} is {trials[0].name}")
    require_fair(sweep, bases.starts(sweep, trials))
    bases.look_up_all(sweep, trials)
    return trials


def run(
    sweep: Sweep, options: Options = Options(), *, teller: Teller | None = None, runner: Runner | None = None
) -> Swept:
    """Carry a sweep out, or go on with it: what is finished is not run again, what was under way goes on.

    Args:
        runner: runs the trials; by default processes of this machine, or the cluster that the sweep names.

    Raises:
        NiwakiError: the sweep, or what it names, cannot be used; told before the first trial starts wherever it can be.
    """
    teller = teller or Teller()
    trials = checked(sweep, options.only)
    out = Path(sweep.out)
    with locked(out):
        return _Run(sweep, options, trials, Ledger(out), teller, runner or runner_for(sweep)).go()


def runner_for(sweep: Sweep) -> Runner:
    """Processes of this machine, each with a GPU of its own where it has any; or tasks of the cluster that the sweep
    names."""
    if sweep.cluster is not None:
        from niwaki.sweeps.cluster import OnCluster

        cluster = OnCluster(sweep.cluster, sweep.threads)
        cluster.reach()  # before any work is done for it
        return cluster
    places = [alone_with(gpu) for gpu in gpus()]
    return Local(sweep.workers or workers_for(sweep.threads, len(places)), sweep.threads, places or [{}])


class _Run:
    """A sweep that is being carried out in its folder."""

    def __init__(
        self, sweep: Sweep, options: Options, trials: tuple[Trial, ...], ledger: Ledger, teller: Teller, runner: Runner
    ) -> None:
        self.sweep, self.options, self.trials, self.teller = sweep, options, trials, teller
        self.ledger, self.runner = ledger, runner
        ledger.require_same(trials)
        self.bases = bases.bases(sweep, trials, ledger.out)

    def go(self) -> Swept:
        bases.prepare(self.bases, self.trials, self.teller)
        done = results.finished(self.sweep, self.ledger, self.trials)
        begun = {
            name: replace(start, weights=self.bases[name].weights)
            for name, start in bases.starts(self.sweep, self.trials).items()
        }
        require_fair(self.sweep, begun | {name: one.start for name, one in done.items()})
        self._require_same_base(done)
        self._tell_before(done)
        self._run(self._left())
        return self._end()

    def _require_same_base(self, done: Mapping[str, results.Done]) -> None:
        """See that what was begun was begun with the dense network that is there now. Finished trials of another one
        may stay where bases are mixed on purpose; none can go on with other weights than it began with."""
        free = set(done) if "base" in self.sweep.mixing else set()
        began = {trial.name: read_json(self.ledger.folder(trial) / RUN) or {} for trial in self.trials}
        began |= {name: {"weights": one.start.weights} for name, one in done.items()}
        changed = [
            name for name, told in began.items()
            if told and name not in free and told["weights"] != self.bases[name].weights
        ]  # fmt: skip
        if changed:
            raise BadInput(
                f"{some(changed)} in {self.ledger.out / TRIALS} began with another dense network. Give the old "
                "weights, or the old 'dense', again, name another folder with --out, or remove theirs to run them anew"
            )

    def _left(self) -> list[Trial]:
        """What is to be run now."""
        found = []
        for trial in matching(self.trials, self.options.only):
            outcome = self.ledger.outcome(trial)
            if outcome is not None and outcome.failed and self.options.retry_failed:
                self.ledger.forget(trial)
                outcome = None
            if outcome is None:
                found.append(trial)
        return found

    def _run(self, left: Sequence[Trial]) -> None:
        folders = [self.ledger.write(trial, self._told(trial)) for trial in left]
        if not folders:
            return
        workers = min(getattr(self.runner, "workers", len(folders)), len(folders))
        count = Count(len(folders), workers, dict(zip(folders, [trial.method for trial in left], strict=True)))
        with watching(folders, count, self.teller) as view:
            for folder, outcome in self.runner(folders, view.tick):
                view.end(folder, outcome)

    def _told(self, trial: Trial) -> dict[str, Any]:
        """What the process of a trial needs to know."""
        return {
            "recipe": plain({**trial.data, "weights": str(self.bases[trial.name].file)}),
            "folder": str(self.sweep.folder.resolve()),
            "command": f"{self.options.command} --only {shlex.quote(trial.name)}",
            "choose_by": self.sweep.choose_by,
            "choose_args": plain(self.sweep.choose_args),
        }

    def _tell_before(self, done: Mapping[str, results.Done]) -> None:
        failed = self._failed()
        if done or failed:
            again = "; --retry-failed tries them again" if failed and not self.options.retry_failed else ""
            self.teller.say(
                f"{len(done)} of {len(self.trials)} trials were finished before, {len(failed)} failed{again}"
            )
        strays = self.ledger.strays(self.trials)
        if strays:
            self.teller.say(
                f"not asked for any more, and left alone: {', '.join(strays[:5])}{' …' * (len(strays) > 5)}"
            )

    def _failed(self) -> dict[str, Outcome]:
        found = {trial.name: self.ledger.outcome(trial) for trial in self.trials}
        return {name: one for name, one in found.items() if one is not None and one.failed}

    def _end(self) -> Swept:
        """Time all networks, and write what came of them."""
        done, failed = results.finished(self.sweep, self.ledger, self.trials), self._failed()
        told, untimed = None, ""
        out = self.ledger.out
        if done:
            require_fair(self.sweep, {name: one.start for name, one in done.items()})
            folders = {name: self.ledger.folder(one.trial) for name, one in done.items()}
            try:
                with self.teller.wait("time all networks in turns"):
                    times = time_all(self.bases, folders, {name: one.report for name, one in done.items()}, out)
            except Exception as trouble:  # of any library that times; what was trained is told all the same
                times, untimed = {}, " ".join(f"{type(trouble).__name__}: {trouble}".split())
            done = results.timed(done, times)
            names = {name: one.note.stem for name, one in self.bases.items()}
            told = results.outcome(self.sweep, self.trials, done, failed, times, self.options.command, names)
            if untimed:
                told = replace(told, remarks=[*told.remarks, f"The networks could not be timed: {untimed}"])
        page = results.write(out, self.sweep, self.trials, done, failed, told)
        return Swept(page, told, failed, len(self.trials) - len(done) - len(failed), untimed)


def with_cluster(sweep: Sweep, address: str) -> Sweep:
    """The sweep on the Ray cluster at this address."""
    from niwaki.sweeps.schema import Cluster

    known = sweep.cluster
    found = replace(known, address=address) if known is not None else Cluster(address, float(sweep.threads))
    return replace(sweep, cluster=found)


def matching(trials: Sequence[Trial], pattern: str) -> list[Trial]:
    """Those whose name is like the pattern."""
    return [trial for trial in trials if fnmatch.fnmatchcase(trial.name, pattern)]


__all__ = ["Options", "Swept", "checked", "matching", "run", "runner_for", "with_cluster"]
