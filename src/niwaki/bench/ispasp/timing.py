"""How long it takes to prune one block (Figure 1): i-SpaSP and greedy forward selection, by what is kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from niwaki import methods
from niwaki.bench import results
from niwaki.errors import BadInput, nearest
from niwaki.methods import Method
from niwaki.pruning import prune
from niwaki.recipes.progress import Teller
from niwaki.targets import Ratio
from niwaki.vision.resnet_imagenet import Basic

SIDES = {64: 56, 128: 28, 256: 14, 512: 7}
"""Channels of a ResNet-34 block: pixels on a side of what it is given."""
TIMED: Mapping[str, Callable[[Ratio, int], Method]] = {
    "ispasp": lambda target, n: methods.ispasp(target, samples=n),
    "gfs reused": lambda target, n: methods.gfs(target, samples=n),
    "gfs 50": lambda target, n: methods.gfs(target, samples=n, candidates=50, reuse=False),
    "gfs": lambda target, n: methods.gfs(target, samples=n, reuse=False),
}
"""Who is timed: the same interface, on the same samples."""
LABELS = {
    "ispasp": "i-SpaSP",
    "gfs reused": "greedy, inner products reused",
    "gfs 50": "greedy, 50 candidates",
    "gfs": "greedy, all candidates",
}


@dataclass(frozen=True)
class Timing:
    """What is timed.

    Attributes:
        out: the folder of the results; a cell that is there is not timed again.
        channels: of blocks, keys of ``SIDES``. kept: shares that stay. samples: images (random, behind a ReLU, as large
            as the block sees them in a network on 224 x 224 pixels). repeats: of those that take seconds.
        contestants: of ``TIMED``. seed: of weights and images.
    """

    out: Path
    channels: Sequence[int] = (64, 512)
    kept: Sequence[float] = (0.2, 0.4)
    samples: int = 4
    repeats: int = 5
    contestants: Sequence[str] = tuple(TIMED)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, asked, known in (("contestant", self.contestants, TIMED), ("block", self.channels, SIDES)):
            for each in asked:
                if each not in known:
                    hint = nearest(str(each), map(str, known)) or "."
                    raise BadInput(f"no {name} is called {each!r}{hint} Known: {', '.join(map(str, known))}.")

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """One result for every block, contestant and share: ``core_s``, seconds of processor cores, one a repeat."""
        cells = [(c, name, kept) for c in self.channels for name in self.contestants for kept in self.kept]
        found = []
        with (teller or Teller()).stage("blocks", len(cells)) as tick:
            for channels, name, kept in cells:
                found.append(self._cell(channels, name, kept))
                tick(f"{channels} channels, {LABELS[name]}, {kept:.0%} kept")
        return found

    def _cell(self, channels: int, name: str, kept: float) -> dict[str, Any]:
        path = self.out / "timing" / f"{channels}.{name.replace(' ', '-')}.{kept:g}.json"
        told = {"channels": channels, "contestant": name, "kept": kept, "samples": self.samples, "seed": self.seed}
        done = results.read(path, told, "is of {found} {key}")
        if done is not None:
            return done
        found = {**told, "threads": torch.get_num_threads(), **self._timed(channels, name, kept)}
        results.write(path, found)
        return found

    def _timed(self, channels: int, name: str, kept: float) -> dict[str, Any]:
        """From a call of ``niwaki.prune`` to the smaller block: tracing, selection and cut."""
        block, images = self.block(channels)
        method = TIMED[name](Ratio(1 - kept), self.samples)
        prune(block, images[:1], methods.magnitude(Ratio(0.5)))  # what only the first call of a process pays
        spent: list[float] = []
        while len(spent) < self.repeats:
            start = time.process_time()
            small = prune(block, images[:1], method, data=[images])
            spent.append(time.process_time() - start)
            if spent[0] > 30:
                break
        return {"core_s": spent, "left": small.conv1.out_channels}

    def block(self, channels: int) -> tuple[Basic, Tensor]:
        """A block with fresh weights, and what it is given."""
        torch.manual_seed(1_000_003 * self.seed + channels)
        side = SIDES[channels]
        return Basic(channels, channels, 1).eval(), torch.randn(self.samples, channels, side, side).relu()

    @property
    def told(self) -> dict[str, Any]:
        """The settings, for a record."""
        return {key: value for key, value in asdict(self).items() if key != "out"}


def seconds(timed: Sequence[Mapping[str, Any]], channels: int, contestant: str, kept: float) -> float | None:
    """The median; None if that was not timed."""
    for each in timed:
        if (each["channels"], each["contestant"], each["kept"]) == (channels, contestant, kept):
            return statistics.median(each["core_s"])
    return None


def read(folder: Path) -> list[dict[str, Any]]:
    """All that was timed, by name."""
    return results.read_all(folder / "timing")


__all__ = ["LABELS", "SIDES", "TIMED", "Timing", "read", "seconds"]
