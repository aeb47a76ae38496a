"""The comparison: which jobs there are, and what each factor is worth on data that are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from niwaki.bench.spur.contestants import CONTESTANTS, USUAL, Contestant
from niwaki.bench.spur.job import Job
from niwaki.bench.spur.subjects import LOWER, Subject
from niwaki.errors import BadInput, nearest
from niwaki.recipes.progress import Teller

TUNED_AT = 0.9  # factors are chosen by how good the model is from this share of zeros on


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        subject: the model and its data. out: of the results; a job that is there is not made again, and one that was
            broken off goes on where it was.
        shares: of zeros, ascending, one round each. contestants: of ``CONTESTANTS``.
        seeds: how many, of the head, of the order of rows and of dropout. Factors are chosen with the first.
        epochs: of each round, and of the dense phase. lr: its highest rate; it starts anew in each round.
    """

    subject: Subject
    out: Path
    shares: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95)
    contestants: Sequence[str] = USUAL
    seeds: int = 3
    epochs: int = 3
    lr: float = 5e-5

    def __post_init__(self) -> None:
        for name in self.contestants:
            if name not in CONTESTANTS:
                hint = nearest(name, CONTESTANTS) or "."
                raise BadInput(f"no contestant is called {name!r}{hint} Known: {', '.join(CONTESTANTS)}.")

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """The results of all jobs; they are files in ``out/jobs``."""
        teller = teller or Teller()
        found: list[dict[str, Any]] = []
        for name in self.contestants:
            contestant = CONTESTANTS[name]
            alpha, tried = self._tuned(name, contestant, teller)
            found += tried
            for seed in range(1 if contestant.alphas else 0, self.seeds):
                found += [job.run(teller) for job in self._jobs(name, contestant, alpha, seed)]
        return found

    def _tuned(self, name: str, contestant: Contestant, teller: Teller) -> tuple[float | None, list[dict[str, Any]]]:
        """The best factor with the first seed, and the results of all that were tried."""
        tried = [job.run(teller) for alpha in contestant.alphas for job in self._jobs(name, contestant, alpha, 0)]
        return best(tried), tried

    def _jobs(self, name: str, contestant: Contestant, alpha: float | None, seed: int) -> list[Job]:
        """One; or, for who goes to one share at once, one for each share that factors are chosen at: those from
        ``TUNED_AT`` on, or else the last."""
        ways = [self.shares]
        if contestant.at_once:
            late = [k for k, share in enumerate(self.shares) if share >= TUNED_AT] or [len(self.shares) - 1]
            ways = [self.shares[: k + 1] for k in late]
        return [Job(self, name, contestant, tuple(way), alpha, seed) for way in ways]


def best(tried: Sequence[dict[str, Any]]) -> float | None:
    """The factor with which the model is best on what is held out, on average from ``TUNED_AT`` on; of equals, the
    first."""
    if not tried:
        return None
    sign = -1 if tried[0].get("measure") in LOWER else 1
    return max(tried, key=lambda found: sign * _held(found["rounds"]))["alpha"]


def asked_of(row: Mapping[str, Any]) -> float:
    """The share of zeros that a round was to have; in old results, the one that it had."""
    return row.get("asked", row["share"])


def _held(rounds: Sequence[dict[str, Any]]) -> float:
    late = [row["held_out"] for row in rounds if asked_of(row) >= TUNED_AT] or [rounds[-1]["held_out"]]
    return mean(late)


__all__ = ["Study", "asked_of", "best"]
