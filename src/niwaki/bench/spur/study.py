"""The comparison: which jobs there are, and what each factor is worth on data that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from niwaki.bench.spur.contestants import CONTESTANTS, USUAL, Contestant
from niwaki.bench.spur.job import Job, Parts
from niwaki.errors import BadInput, nearest
from niwaki.recipes.progress import Teller
from niwaki.text.batches import Tokens, tokenised, tokenizer
from niwaki.text.tasks import Task

TUNED_AT = 0.9  # factors are chosen by how good the model is from this share of zeros on
_APART = 7_919


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        encoder: the folder of a pretrained encoder. out: of the results; a job that is there is not made again, and one
            that was broken off goes on where it was.
        shares: of zeros, ascending, one round each. contestants: of ``CONTESTANTS``.
        seeds: how many, of the head, of the order of rows and of dropout. Factors are chosen with the first.
        epochs: of each round, and of the dense phase. lr: its highest rate; it starts anew in each round.
        rows: use only so many of the training part. held_out: so many more of it, on which factors are chosen.
    """

    task: Task
    encoder: Path
    out: Path
    shares: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95)
    contestants: Sequence[str] = USUAL
    seeds: int = 3
    epochs: int = 3
    lr: float = 5e-5
    rows: int | None = None
    held_out: int = 500
    max_length: int = 128

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
        """One; or, for who goes to one share at once, one for each share that factors are chosen at."""
        ways = [self.shares]
        if contestant.at_once:
            ways = [self.shares[: k + 1] for k, share in enumerate(self.shares) if share >= TUNED_AT]
        return [Job(self, name, contestant, tuple(way), alpha, seed) for way in ways]

    @cached_property
    def parts(self) -> Parts:
        """What is trained on, what factors are chosen on, what is reported."""
        words = tokenizer(self.encoder)
        whole = tokenised(self.task.read("train"), words, self.max_length)
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_APART))
        if len(whole) <= self.held_out:
            raise BadInput(f"{self.task.name} has {len(whole)} rows to train on, of which {self.held_out} are held out")
        train = order[self.held_out :][: self.rows]
        reported = tokenised(self.task.read(self.task.reported), words, self.max_length)
        return Parts(_some(whole, train), _some(whole, order[: self.held_out]), reported)


def best(tried: Sequence[dict[str, Any]]) -> float | None:
    """The factor with which the model is best on what is held out, on average from ``TUNED_AT`` on; of equals, the
    first."""
    if not tried:
        return None
    return max(tried, key=lambda found: _held(found["rounds"]))["alpha"]


def _held(rounds: Sequence[dict[str, Any]]) -> float:
    late = [row["held_out"] for row in rounds if row["share"] >= TUNED_AT] or [rounds[-1]["held_out"]]
    return mean(late)


def _some(tokens: Tokens, rows: torch.Tensor) -> Tokens:
    """These rows, in this order."""
    lengths = tokens.lengths[rows]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    at = torch.repeat_interleave(tokens.starts[rows] - starts[:-1], lengths) + torch.arange(int(starts[-1]))
    return Tokens({name: flat[at] for name, flat in tokens.flat.items()}, starts, tokens.labels[rows], tokens.padding)


__all__ = ["Study", "best"]
