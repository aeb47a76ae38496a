"""What training has done to every weight, summed up for scores that watch it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from niwaki.methods import Choose, Method
from niwaki.ranks import local
from niwaki.scores import watches
from niwaki.surgery.singles import offered, single_weights
from niwaki.train.overflow import finite
from niwaki.wrappers import bare


class Moves:
    """``- Σ g w`` of the weights called ``names``, in float32 (:class:`niwaki.scores.Movement`)."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        self._model, self._names = model, names
        self.sums = {
            name: torch.zeros_like(w, dtype=torch.float32, requires_grad=False) for name, w in self._weights().items()
        }

    @classmethod
    def of(cls, method: Method, model: nn.Module) -> Moves:
        """Of the weights that the method's choices by such a score may take; of none, if it has no such choice."""
        names: dict[str, None] = {}
        for part in method.body.walk():
            if isinstance(part, Choose) and watches(part.score) and part.of == "weights":
                names |= dict.fromkeys(offered(single_weights(model), part.target))
        return cls(model, tuple(names))

    @torch.no_grad()
    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """Add what the gradients say now, which are the loss's and nothing else's. Where half precision overflowed in
        any that the optimizer steps by, the scaler leaves the step out, and so do the sums."""
        moved = {name: weight for name, weight in self._weights().items() if weight.grad is not None}
        every = {id(p): p for group in optimizer.param_groups for p in group["params"]}
        every |= {id(weight): weight for weight in moved.values()}
        if not moved or not finite(p.grad for p in every.values()):
            return
        for name, weight in moved.items():
            assert weight.grad is not None
            local(self.sums[name]).addcmul_(local(weight.grad).float(), local(weight).float(), value=-1)

    def put(self, sums: Mapping[str, Tensor]) -> None:
        """Go on from these."""
        self.sums.update(sums)

    def _weights(self) -> dict[str, Tensor]:
        parameters = dict(bare(self._model).named_parameters())
        return {name: parameters[name] for name in self._names}


__all__ = ["Moves"]
