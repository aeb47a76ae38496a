"""The second pass, in train mode: how it is run, what it may not take away, and what the log says where it cannot be
followed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakSet

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from niwaki.graph.couple import Coupling, couple
from niwaki.graph.explain import Web, chain_to
from niwaki.graph.ledger import Ledger
from niwaki.wording import some

logger = logging.getLogger("niwaki")

_told: WeakSet[type] = WeakSet()


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Train mode inside, eval mode after. Batch norms stay in eval mode: they relate the same axes there, and take a
    single sample too."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    try:
        yield
    finally:
        model.eval()


def taken_away(before: Ledger, after: Ledger, late: Collection[str]) -> str | None:
    """What blocks something that could go before; None where nothing does. ``late``: tensors of which ``before`` knows
    nothing."""
    axes = [axis for axis in before.axes if axis.name not in late]
    if not axes:
        return None
    old, new = (np.concatenate([ledger.axes[axis] for axis in axes]) for ledger in (before, after))
    solved = couple(after)
    lost = new[_free(couple(before))[old] & ~_free(solved)[new]]
    if not lost.size:
        return None
    known = chain_to(Web(after, solved), int(lost[0]))
    return "it takes units away" if known is None else str(replace(known[0], advice="")).removesuffix(".")


def _free(coupling: Coupling) -> np.ndarray:
    """Bool per atom: does it go with some unit?"""
    free: np.ndarray = np.asarray(coupling.units.sum(axis=0)).ravel() > 0
    return free


def tell(model: nn.Module, names: Sequence[str], trouble: str) -> None:
    """Log which of the parameters that eval mode does not use cannot follow a cut, and why. Lone vectors (what stands
    for masked steps of speech) are told once for each class: usual configurations have some."""
    lone = [name for name in names if _is_lone(model, name)]
    heads = [name for name in names if name not in lone]
    text = "not used in eval mode: %s. The forward pass in train mode %s: where training uses "
    if heads:
        text += "these, do not prune the layers that feed them, for they cannot follow"
        logger.warning(text, some([repr(name) for name in heads]), trouble)
    elif lone and type(model) not in _told:
        _told.add(type(model))
        text += "it, it cannot follow: do not prune the width that it is added to"
        logger.warning(text, some([repr(name) for name in lone]), trouble)


def _is_lone(model: nn.Module, name: str) -> bool:
    """A vector that a module with layers holds beside them."""
    owner = model.get_submodule(name.rpartition(".")[0])
    return model.get_parameter(name).dim() == 1 and any(True for _ in owner.children())


__all__ = ["taken_away", "tell", "training_mode"]
