"""Several optimizers that train one model, as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from niwaki.errors import BadInput


class Joined(torch.optim.Optimizer):
    """Optimizers that train one model between them (Muon for matrices and AdamW for the rest, say), as one. Groups and
    states are theirs; it has none of its own."""

    def __init__(self, each: Sequence[torch.optim.Optimizer]) -> None:
        # Not that of the base, which would make groups of its own.
        self.each = tuple(each)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return [group for each in self.each for group in each.param_groups]

    @property
    def state(self) -> dict[Tensor, Any]:  # type: ignore[override]
        return {parameter: state for each in self.each for parameter, state in each.state.items()}

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise BadInput("optimizers that step together take no closure: each would compute the loss anew")
        for each in self.each:
            each.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for each in self.each:
            each.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"each": [each.state_dict() for each in self.each]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for each, state in zip(self.each, state_dict["each"], strict=True):
            each.load_state_dict(state)

    def add_param_group(self, param_group: Any) -> None:
        raise BadInput("these are several optimizers: add the group to the one that shall hold it")


def each_of(optimizer: Any) -> tuple[Any, ...]:
    """The optimizers that were joined; else this one alone."""
    return optimizer.each if isinstance(optimizer, Joined) else (optimizer,)


__all__ = ["Joined", "each_of"]
