"""The model as it was at some step, to go back to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from niwaki.surgery.optimizer import layers
from niwaki.wrappers import bare


class Snapshot:
    """A copy of all parameters and buffers; empty until it is taken."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._tensors: dict[str, Tensor] = {}

    def take(self) -> None:
        """Keep the model as it is now, in place of what was kept."""
        self._tensors = {name: t.detach().clone() for name, t in self._now().items()}

    @torch.no_grad()
    def bring_back(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the copy into the model, and let the optimizer forget all that it has seen."""
        now = self._now()
        for name, kept in self._tensors.items():
            now[name].copy_(kept)
        for each in layers(optimizer):
            each.state.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""
        return dict(self._tensors)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave, onto the model's devices."""
        now = self._now()
        self._tensors = {name: kept.to(now[name].device) for name, kept in state.items()}

    def _now(self) -> dict[str, Tensor]:
        model = bare(self._model)
        return dict([*model.named_parameters(), *model.named_buffers()])


__all__ = ["Snapshot"]
