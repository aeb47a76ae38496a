"""A sweep written to disk: a recipe of a tiny network, and a sweep beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from niwaki.recipes.progress import Teller
from niwaki.sweeps import Sweep
from niwaki.sweeps.ledger import Outcome, read_json, write_outcome
from niwaki.sweeps.local import Tick
from niwaki.sweeps.run import Options, Swept, run
from tests.recipes.kitchen import TRAINED, project

QUIET = Teller(quiet=True)
HALVES: dict[str, Any] = {"methods": ["magnitude"], "targets": [{"ratio": 0.5}], "seeds": [0]}

JUDGES = """

def by_size(model, sign=1):
    return 0.5 + sign * 0.001 * sum(p.numel() for p in model.parameters()) / 1000


def by_weight(model, sign=1):
    return 0.5 + sign * 0.001 * float(sum(p.abs().sum() for p in model.parameters()))


def counted(width=8, log=None):
    if log is not None:
        with open(log, "a") as file:
            file.write(f"{width} ")
    return build(width)


def fatal(model, batch):
    import os, signal

    victim = os.environ.get("KILL_SEED")
    if victim is not None and torch.initial_seed() == int(victim):
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(model, batch)


def slow(model, batch):
    import os, time

    if "KEEP_ALWAYS" in os.environ:  # a checkpoint after every step, in place of one in two minutes
        from niwaki.recipes import standing

        standing.SECONDS = 0.0
    time.sleep(0.05)
    return loss(model, batch)
"""


def planted(folder: Path, recipe: dict[str, Any] | None = None, **keys: Any) -> Path:
    """Write ``recipe.yaml`` with its module and ``sweep.yaml`` into a folder; the path of the sweep. None leaves a key
    out; ``"@name"`` stands for a function of the module."""
    path, module = project(folder, JUDGES, **{**TRAINED, "evaluate": "@by_size", **(recipe or {})})
    given = {"recipe": path.name, **HALVES, "out": str(folder / "swept"), **keys}
    given = {k: v for k, v in given.items() if v is not None}
    given = {k: f"{module}:{v[1:]}" if isinstance(v, str) and v.startswith("@") else v for k, v in given.items()}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(given))
    return folder / "sweep.yaml"


def swept(path: Path, runner: Any, **options: Any) -> Swept:
    """The sweep of a file, carried out by this runner."""
    return run(Sweep.load(path), Options(**options), teller=QUIET, runner=runner)


class Here:
    """Runs trials in this process, one after the other; those in ``crash`` end with that status, and after ``stop`` of
    them the keyboard interrupts. ``ran``: the names of all that were begun."""

    workers = 1

    def __init__(self, crash: dict[str, int] | None = None, stop: int | None = None) -> None:
        self.crash, self.stop, self.ran = crash or {}, stop, list[str]()

    def __call__(self, folders: Sequence[Path], tick: Tick) -> Iterator[tuple[Path, Outcome]]:
        for folder in folders:
            if self.stop is not None and len(self.ran) == self.stop:
                raise KeyboardInterrupt
            tick()
            self.ran.append(folder.name)
            status = self.crash.get(folder.name, 0)
            if not status:
                carry_out(folder)
            outcome = Outcome(status, 1.0, "the loss is nan" if status else "")
            write_outcome(folder, outcome)
            yield folder, outcome


def carry_out(folder: Path) -> None:
    """What the process of a trial does, here and silently; its certificate needs no fresh process, and its page is
    not drawn."""
    from niwaki.recipes import run
    from niwaki.report import page
    from niwaki.sweeps import trial

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial.Telling, "say", lambda self, text: None)
        patch.setattr(run, "can_travel", lambda *inputs: False)
        patch.setattr(page, "render", lambda report: "")
        trial.carry_out(folder)


def told(folder: Path) -> dict[str, Any]:
    """What a sweep wrote."""
    found = read_json(folder / "swept" / "sweep.json")
    assert found is not None
    return found
