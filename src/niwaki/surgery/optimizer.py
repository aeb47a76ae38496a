"""Optimizer state through a cut: moments lose the same entries as their parameters, or we refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from niwaki.errors import CannotFollow

Dims = Mapping[int, "tuple[int, ...]"]


def prepare(optimizer: torch.optim.Optimizer, cuts: Mapping[int, tuple[str, Dims]]) -> list[Callable[[], None]]:
    """The changes to make, checked but not made. ``cuts``: id of a parameter to (its name, what it loses).

    Parameters keep their identity in a cut, so parameter groups need no change.

    Raises:
        CannotFollow: a state tensor of a shape that says nothing of which entries it belongs to.
    """
    work: list[Callable[[], None]] = []
    for parameter, state in optimizer.state.items():
        if id(parameter) not in cuts:
            continue
        name, dims = cuts[id(parameter)]
        for key, value in state.items():
            change = _change(optimizer, parameter, state, key, value, name, dims)
            if change is not None:
                work.append(change)
    return work


def _change(
    optimizer: torch.optim.Optimizer, parameter: Tensor, state: dict[str, object], key: str, value: object, name: str, dims: Dims
) -> Callable[[], None] | None:
    if not isinstance(value, Tensor) or value.numel() == 1:
        return None  # step counters and scalars belong to the whole parameter
    if value.shape != parameter.shape:
        raise CannotFollow(
            f"{type(optimizer).__name__} keeps {key!r} of shape {tuple(value.shape)} for {name!r} of shape "
            f"{tuple(parameter.shape)}: which entries would follow the cut is not known. Cut between runs with a new "
            f"optimizer, or use one that keeps its state in the parameter's shape (SGD, Adam, AdamW, RMSprop)."
        )
    from niwaki.surgery.cut import select

    def apply() -> None:
        state[key] = select(value, dims)

    return apply
