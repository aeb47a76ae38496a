"""What ``niwaki sweep`` prints: the trials of a sweep, its means, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from niwaki.report import sweep as pages
from niwaki.sweeps.grid import Trial
from niwaki.sweeps.ledger import Ledger
from niwaki.sweeps.names import said
from niwaki.sweeps.process import ended
from niwaki.sweeps.run import Swept
from niwaki.sweeps.schema import Sweep


def listed(sweep: Sweep, trials: Sequence[Trial]) -> Any:
    """A table of all trials and how they stand."""
    from rich.table import Table
    from rich.text import Text

    ledger = Ledger(Path(sweep.out))
    table = Table(title=Text(f"{len(trials)} trials in {sweep.out}"))
    for name in ("trial", "method", "target", "its setting", "recipe", "seed", "state"):
        table.add_column(name, justify="right" if name == "seed" else "left", overflow="fold")
    for trial in trials:
        own, over = (", ".join(said(k, v) for k, v in values.items()) for values in (trial.own, trial.over))
        cells = [
            trial.name,
            trial.method,
            said("", trial.target).strip(),
            own,
            over,
            str(trial.seed),
            _state(ledger, trial),
        ]
        table.add_row(*map(Text, cells))
    return table


def means(told: pages.Outcome) -> Any:
    """The table of means."""
    return pages.summary(told)


def troubles(found: Swept) -> list[str]:
    """A line for each trial that failed, for certificates that do not hold, and for what is left."""
    lines = [
        f"{name} failed, {ended(one.exit)}: {' '.join(one.said.split())[-300:]}" for name, one in found.failed.items()
    ]
    if found.told is not None:
        lines += [f"the certificate of {name} does not hold; see {found.page}" for name in found.told.failing]
    if found.untimed:
        lines.append(f"the networks could not be timed; the same command tries it again: {found.untimed[-300:]}")
    if found.failed:
        lines.append(f"{len(found.failed)} failed; --retry-failed tries them again")
    if found.left:
        lines.append(f"{found.left} trials are left to run")
    return lines


def _state(ledger: Ledger, trial: Trial) -> str:
    outcome = ledger.outcome(trial)
    return "left" if outcome is None else f"failed, {ended(outcome.exit)}" if outcome.failed else "finished"


__all__ = ["listed", "means", "troubles"]
