"""The comparison: all cells, those of most worth first; what is done is not made again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from niwaki.bench import results
from niwaki.bench.speed import verdicts
from niwaki.bench.speed.cell import Cell
from niwaki.bench.speed.subjects import NETWORKS, subject
from niwaki.errors import BadInput
from niwaki.forecast.shelf import kept_in
from niwaki.measure import RUNTIMES
from niwaki.measure.runtimes import require
from niwaki.recipes.progress import Teller

BATCHES = (1, 16)
WORTH = (("onnxruntime", "openvino"), ("pytorch",), ("compile",))
"""Runtimes, those that the goals are for first; of each set all batches are measured before the next."""


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        out: the folder of the results. networks, runtimes, batches: of ``SUBJECTS``, ``RUNTIMES`` and whole numbers.
        runs: rounds at most; slow networks are timed as often as fits into a minute, and five times at least.
        minutes: begin no cell after so long; None: until all is done.
    """

    out: Path
    networks: Sequence[str] = NETWORKS
    runtimes: Sequence[str] = tuple(RUNTIMES)
    batches: Sequence[int] = BATCHES
    runs: int = 30
    minutes: float | None = None

    def __post_init__(self) -> None:
        for network in self.networks:
            subject(network)
        for runtime in self.runtimes:
            require(runtime)
        if any(batch < 1 for batch in self.batches):
            raise BadInput(f"a batch has at least 1 example, not {min(self.batches)}")

    @property
    def cells(self) -> list[Cell]:
        """In the order in which they are measured."""
        return [
            Cell(network, runtime, batch)
            for runtimes in WORTH
            for batch in self.batches
            for runtime in runtimes
            if runtime in self.runtimes
            for network in self.networks
        ]

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """Measure what is missing, and give the results of all cells that there are."""
        teller = teller or Teller()
        until = float("inf") if self.minutes is None else time.monotonic() + 60 * self.minutes
        left = [cell for cell in self.cells if self.done(cell) is None]
        for position, cell in enumerate(left):
            if time.monotonic() > until:
                teller.say(
                    f"the time is up; {len(left) - position} cells are left, the same command goes on from there"
                )
                break
            title = f"{cell.name} ({position + 1} of {len(left)})"
            with teller.stage(title, cell.steps) as advance, kept_in(self.out / "layer-times"):
                found = cell.measured(self.runs, self.out / "torch-pruning", advance)
            results.write(self._path(cell), found)
            for line in verdicts.lines(found):
                teller.say(line)
        return [there for cell in self.cells if (there := self.done(cell)) is not None]

    def done(self, cell: Cell) -> dict[str, Any] | None:
        """The cell's results, if they are there."""
        return results.read(self._path(cell), cell.told)

    def _path(self, cell: Cell) -> Path:
        return self.out / "cells" / cell.file


def read(folder: Path) -> list[dict[str, Any]]:
    """All cells of a folder."""
    return results.read_all(folder / "cells")


__all__ = ["BATCHES", "Study", "read"]
