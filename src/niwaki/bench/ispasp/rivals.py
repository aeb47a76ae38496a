"""Who chooses the hidden units of the MNIST study, each as the paper describes it (section 6.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from niwaki import recovery
from niwaki.bench.ispasp.perceptron import Perceptron
from niwaki.bench.ispasp.settings import Settings
from niwaki.recovery import TwoLayer
from niwaki.vision.mnist import Digits, normalise


class Samples:
    """Random training images, new ones at each call.

    Args:
        size: images in a sample, all different. seed: of the draws.
    """

    def __init__(self, digits: Digits, size: int, seed: int) -> None:
        self._digits, self._size = digits, min(size, len(digits.train))
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Normalised images (size x pixels) and their labels."""
        chosen = torch.randperm(len(self._digits.train), generator=self._generator)[: self._size]
        chosen = chosen.to(self._digits.train.device)
        return normalise(self._digits.train[chosen]), self._digits.train_labels[chosen]


@dataclass(frozen=True, eq=False)
class Choice:
    """The units that stay, ascending (int64), and what the weights that take each of them are multiplied by."""

    units: Tensor
    factors: Tensor

    @classmethod
    def of(cls, picks: Tensor, factor: float = 1.0) -> Choice:
        """Of picks in any order; a unit that is there several times counts as often."""
        units, counts = picks.unique(return_counts=True)
        return cls(units, counts.float() * factor)

    def network(self, dense: Perceptron) -> Perceptron:
        """The small network."""
        units, factors = self.units.to(dense.first.device), self.factors.to(dense.first.device)
        return Perceptron(dense.first.detach()[units], dense.second.detach()[:, units] * factors)


Rival = Callable[[Perceptron, Samples, Settings, int], dict[int, Choice]]
"""Of a dense network, where samples come from, and a seed: what stays, for each number of ``settings.kept``."""


def layers(dense: Perceptron, samples: Samples) -> TwoLayer:
    """H and W1 on a new sample."""
    return TwoLayer(dense.hidden(samples()[0]).T, dense.second)


@torch.no_grad()
def ispasp(dense: Perceptron, samples: Samples, s: Settings, seed: int) -> dict[int, Choice]:
    """i-SpaSP with a new sample in each iteration."""
    look, units = recovery.looks(lambda: layers(dense, samples)), len(dense.first)
    return {keep: Choice.of(recovery.pursue(look, units, keep, iters=s.iters)) for keep in s.kept}


@torch.no_grad()
def top_k(dense: Perceptron, samples: Samples, s: Settings, seed: int) -> dict[int, Choice]:
    """The heaviest units of one sample."""
    model = layers(dense, samples)
    return {keep: Choice.of(recovery.top_k(model, keep).cpu()) for keep in s.kept}


@torch.no_grad()
def greedy(dense: Perceptron, samples: Samples, s: Settings, seed: int) -> dict[int, Choice]:
    """Stochastic greedy forward selection by the loss of the task, with the uniform average of what was picked."""
    units = len(dense.first)

    def losses(counts: Tensor, candidates: Tensor) -> Tensor:
        x, labels = samples()
        inside = counts.nonzero().flatten()
        there = Choice(inside, counts[inside].float()).network(dense)(x)
        hidden, taken = Perceptron(dense.first[candidates], dense.second[:, candidates]).hidden(x), dense.second
        each = there + hidden.T[:, :, None] * taken.T[candidates][:, None, :]  # candidates x images x classes
        each *= recovery.share(units, int(counts.sum()) + 1, averaged=True)
        return (
            F.cross_entropy(each.flatten(0, 1), labels.repeat(len(each)), reduction="none").view(len(each), -1).mean(1)
        )

    picks = recovery.greedy(losses, units, max(s.kept), tries=s.tries, seed=seed, repeats=True)
    return {keep: Choice.of(picks[:keep], recovery.share(units, keep, averaged=True)) for keep in s.kept}


def random(dense: Perceptron, samples: Samples, s: Settings, seed: int) -> dict[int, Choice]:
    """Any units."""
    return {keep: Choice.of(recovery.random(len(dense.first), keep, seed)) for keep in s.kept}


def rescaled(rival: Rival, scale: Callable[[int, int], float]) -> Rival:
    """The same units with other weights behind them: what is left of a difference is not the choice's.

    Args:
        scale: of units and how many stay, what the weights of all kept units are multiplied by.
    """

    def found(dense: Perceptron, samples: Samples, s: Settings, seed: int) -> dict[int, Choice]:
        factors = {keep: scale(len(dense.first), keep) for keep in s.kept}
        chosen = rival(dense, samples, s, seed)
        return {k: Choice(c.units, torch.full_like(c.factors, factors[k])) for k, c in chosen.items()}

    return found


RIVALS: Mapping[str, Rival] = {
    "ispasp": ispasp,
    "top_k": top_k,
    "gfs": greedy,
    "random": random,
    "ispasp scaled": rescaled(ispasp, lambda units, keep: units / keep),
    "gfs plain": rescaled(greedy, lambda units, keep: 1.0),
}
LABELS = {
    "ispasp": "i-SpaSP",
    "top_k": "Top-K",
    "gfs": "GFS, 50 candidates",
    "random": "random",
    "ispasp scaled": "i-SpaSP, weights times units / s",
    "gfs plain": "GFS, weights as they were",
}

__all__ = [
    "LABELS", "RIVALS", "Choice", "Rival", "Samples", "greedy", "ispasp", "layers", "random", "rescaled", "top_k",
]  # fmt: skip
