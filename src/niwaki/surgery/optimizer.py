"""Optimizer state through a cut: groups hold the new parameters, moments lose the same entries, or we refuse."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from niwaki.errors import CannotFollow
from niwaki.surgery.slices import select


def check(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> None:
    """Raise :class:`CannotFollow` if a parameter that shrinks (``names``: by id) has state that cannot be cut along."""
    for attribute, value in vars(optimizer).items():
        listed = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(t, Tensor) and id(t) in names for t in listed):
            raise CannotFollow(
                f"{type(optimizer).__name__} keeps parameters of its own in {attribute!r} and would go on with the old "
                "ones. Cut between runs and make a new optimizer."
            )
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if id(parameter) in names and _has_entries(value) and value.shape != parameter.shape:
                raise CannotFollow(
                    f"{type(optimizer).__name__} keeps {key!r} of shape {tuple(value.shape)} for "
                    f"{names[id(parameter)]!r} of shape {tuple(parameter.shape)}: which of its entries belong to what "
                    "goes is not known. Cut between runs and make a new optimizer, or use one that keeps its state in "
                    "the parameter's shape (SGD, Adam, AdamW, RMSprop)."
                )


def follow(
    optimizer: torch.optim.Optimizer,
    fresh: Mapping[int, Tensor],
    dims: Mapping[int, Mapping[int, tuple[int, ...]]],
) -> int:
    """Exchange old parameters (by id) for ``fresh`` ones in groups and state; returns how many tensors were cut."""
    for group in optimizer.param_groups:
        group["params"][:] = [fresh.get(id(p), p) for p in group["params"]]
    cut = 0
    for old in [p for p in optimizer.state if id(p) in fresh]:
        state = optimizer.state.pop(old)
        for key, value in state.items():
            if _has_entries(value):
                state[key] = select(value, dims[id(old)])
                cut += 1
        optimizer.state[fresh[id(old)]] = state
    return cut


def _has_entries(value: object) -> bool:
    """Step counters and other scalars belong to the whole parameter."""
    return isinstance(value, Tensor) and value.dim() > 0 and value.numel() > 1
