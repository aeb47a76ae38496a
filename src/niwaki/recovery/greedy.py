"""Greedy forward selection (Ye et al. 2020): start with nothing, and let the unit join that helps most.

The loop asks for the loss with each candidate; who answers decides what kind of greedy selection it is. `Forming` forms
every candidate's output; `Reusing` computes all inner products between units once and makes the same choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.recovery.two_layer import TwoLayer

Losses = Callable[[Tensor, Tensor], Tensor]
"""Of how often each unit is in (int64, (units,)) and of candidates (int64, (c,)): the loss with each one in once more,
(c,)."""


def greedy(
    losses: Losses,
    units: int,
    picks: int | Sequence[int],
    *,
    tries: int | None = None,
    seed: int = 0,
    repeats: bool = False,
    parts: Tensor | None = None,
) -> Tensor:
    """Which units join, in their order: int64, as many as are picked. The first n of them are the choice of n.

    Of equals, the candidate with the smaller number joins.

    Args:
        picks: how many join. tries: candidates in each step, drawn by ``seed``; None: all. repeats: a unit may join
            again, and counts as often as it did.
        parts: the part of each unit, int64 of shape (units,), where so many must join of each part: ``picks`` then has
            a number per part.

    Raises:
        BadInput: numbers out of range, or losses that are no numbers.
    """
    parts = torch.zeros(units, dtype=torch.int64) if parts is None else parts
    left = torch.tensor([picks] if isinstance(picks, int) else list(picks))
    _check(left, parts, units, repeats, picks)
    if tries is not None and tries < 1:
        raise BadInput(f"at least one candidate is tried in each step, not {tries}")
    generator = torch.Generator().manual_seed(seed)
    counts, chosen = torch.zeros(units, dtype=torch.int64), []
    while left.any():
        open_ = ((left[parts] > 0) & (repeats | (counts == 0))).nonzero().flatten()
        candidates = open_ if tries is None else _some(open_, tries, generator)
        found = losses(counts, candidates).detach().cpu()
        if found.shape != candidates.shape or found.isnan().any():
            raise BadInput(f"{len(candidates)} candidates have one loss each that is a number, not {found}")
        best = int(candidates[int(torch.argmin(found))])
        counts[best] += 1
        left[parts[best]] -= 1
        chosen.append(best)
    return torch.tensor(chosen)


def _check(left: Tensor, parts: Tensor, units: int, repeats: bool, picks: int | Sequence[int]) -> None:
    sizes = torch.bincount(parts, minlength=len(left))
    if parts.shape != (units,) or len(sizes) > len(left):
        raise BadInput(
            f"{units} units have a part each, of as many parts as picks has numbers; got {tuple(parts.shape)}"
        )
    few = sizes.minimum(torch.tensor(1)) * left if repeats else sizes
    if left.min() < 0 or left.sum() < 1 or (left > few).any():
        most = f"{units}" if len(sizes) == 1 else f"{sizes.tolist()} of the parts"
        raise BadInput(f"between 1 and {most} of {units} units can be picked, not {picks}")


def _some(open_: Tensor, tries: int, generator: torch.Generator) -> Tensor:
    """Some of them, ascending, each at most once."""
    drawn = torch.randperm(len(open_), generator=generator)[:tries]
    return open_[drawn.sort().values]


def share(units: int, picked: int, averaged: bool) -> float:
    """What a unit counts that is in once.

    Ye et al. write a layer as the mean over its units, so that a mean over a few stands for the mean over all: each
    counts ``units / picked``. Without averaging each counts once, as it does in the network.
    """
    return units / picked if averaged else 1.0


class Forming:
    """The squared residual ``||U - U'||_F^2``, with the output of each candidate formed anew.

    Args:
        averaged: ``U'`` is the uniform average (see `share`), in place of the sum.
    """

    def __init__(self, model: TwoLayer, *, averaged: bool = False) -> None:
        self._model, self._averaged = model, averaged

    def __call__(self, counts: Tensor, candidates: Tensor) -> Tensor:
        """One product of the size of the whole layer for each candidate."""
        model, found = self._model, []
        scale = share(model.units, int(counts.sum()) + 1, self._averaged)
        for candidate in candidates:
            weights = counts.clone()
            weights[candidate] += 1
            output = model.second @ (weights[:, None].to(model.hidden) * model.hidden)
            found.append((model.output - scale * output).square().sum())
        return torch.stack(found)


class Inner:
    """The same losses, from the inner products of what the units add to U.

    Args:
        products: ``<u_i, u_j>``, units x units. averaged: as for `Forming`.
    """

    def __init__(self, products: Tensor, *, averaged: bool = False) -> None:
        self._inner, self._averaged = products, averaged
        self._with_all = products.sum(1)

    def __call__(self, counts: Tensor, candidates: Tensor) -> Tensor:
        """Costs units x units at most."""
        inner, weights = self._inner, counts.to(self._inner)
        scale = share(len(inner), int(counts.sum()) + 1, self._averaged)
        with_chosen, with_all = inner @ weights, self._with_all
        inside = weights @ with_chosen + 2 * with_chosen[candidates] + inner.diagonal()[candidates]
        across = weights @ with_all + with_all[candidates]
        return with_all.sum() - 2 * scale * across + scale**2 * inside


class Reusing(Inner):
    """The same for a two-layer model, whose inner products are computed once.

    Unit j adds ``u_j``, the outer product of a column of W1 and a row of H, so that ``<u_i, u_j>`` is the product of
    two inner products. All of them are two Gram matrices: units x units numbers, and each step is a product with one
    row of them.
    """

    def __init__(self, model: TwoLayer, *, averaged: bool = False) -> None:
        second, hidden = model.second.double(), model.hidden.double()
        super().__init__((second.T @ second) * (hidden @ hidden.T), averaged=averaged)


__all__ = ["Forming", "Inner", "Losses", "Reusing", "greedy", "share"]
