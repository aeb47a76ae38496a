"""All measurements of several processes; what is done is not made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from niwaki.bench import results
from niwaki.bench.scale import curves, launch, steps
from niwaki.bench.scale.subjects import FOLLOWED, TIMED, subject
from niwaki.bench.speed.subjects import plain
from niwaki.errors import BadInput
from niwaki.recipes.progress import Teller

PROCESSES = (1, 2, 4)


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        out: the folder of the results. networks: of ``SUBJECTS``, to be timed.
        processes: how many train together, one number after the other. Each has one thread.
        runs: steps of each kind that are timed; updates of a method come on every tenth. steps: of a curve.

    Raises:
        BadInput: a network is not known, or a number is below 1.
    """

    out: Path
    networks: Sequence[str] = TIMED
    processes: Sequence[int] = PROCESSES
    runs: int = 40
    steps: int = curves.STEPS

    def __post_init__(self) -> None:
        for network in self.networks:
            subject(network)
        for name, number in (("processes", min(self.processes)), ("runs", self.runs), ("steps", self.steps)):
            if number < 1:
                raise BadInput(f"{name} must be at least 1, not {number}")

    def timed(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """Steps, plain and under methods: a result for each network and number of processes."""
        return [
            self._one(
                "steps", plain(network), {"network": network, "runs": self.runs, "batch": subject(network).batch}, n,
                teller,
            )
            for n in self.processes
            for network in self.networks
        ]  # fmt: skip

    def followed(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """Losses of whole runs: a result for each number of processes."""
        told = {"network": FOLLOWED, "steps": self.steps, "batch": curves.BATCH}
        return [self._one("curves", plain(FOLLOWED), told, n, teller) for n in self.processes]

    def _one(self, work: str, name: str, told: dict[str, Any], processes: int, teller: Teller | None) -> dict[str, Any]:
        told = {**told, "processes": processes}
        path = self.out / work / f"{name}.{processes}.json"
        there = results.read(path, told)
        if there is None:
            with (teller or Teller()).wait(f"{work} of {told['network']} on {processes} processes"):
                found = launch.launched(work, told, processes)
            digest = steps.figures(found, told["batch"]) if work == "steps" else curves.together(found)
            there = {**told, "found": digest} | ({"seconds": found} if work == "steps" else {})
            results.write(path, there)
        return there


def read(folder: Path, work: str) -> list[dict[str, Any]]:
    """All results of ``steps`` or ``curves`` in a folder, those of few processes first."""
    return sorted(results.read_all(folder / work), key=lambda told: (told["network"], told["processes"]))


__all__ = ["PROCESSES", "Study", "read"]
