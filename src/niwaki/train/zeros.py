"""Single weights that are zero and stay so, whatever the optimizer, its momentum and its weight decay make of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle, unserializable_hook

from niwaki.pattern import look
from niwaki.ranks import is_sharded, local, whole
from niwaki.surgery.multiplied import matrices, multiplied
from niwaki.train.kept import Kept
from niwaki.train.states import states_of
from niwaki.wrappers import bare


class Zeros:
    """Which weights are gone, by tensor name; they have no gradient either, so that clipping does not count them."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.gone: dict[str, Tensor] = {}
        self._kept: dict[str, Kept] = {}
        self._hooks: dict[str, RemovableHandle] = {}
        # A model outlives its run, and must not go on with hooks of it that nobody can see.
        weakref.finalize(self, _remove, self._hooks)

    def join(self, gone: Mapping[str, Tensor]) -> None:
        """These go too."""
        self.put({n: self.gone[n] | mask if n in self.gone else mask for n, mask in gone.items()})

    def put(self, gone: Mapping[str, Tensor]) -> None:
        """Exactly these are gone, of the tensors named."""
        self.gone.update(gone)
        weights = self._weights()
        for name, mask in gone.items():
            weight = weights[name]
            self._kept[name] = Kept(mask)
            if name in self._hooks:
                self._hooks.pop(name).remove()
            if weight.requires_grad:
                self._hooks[name] = _hook(weight, self._kept[name])

    def pattern(self) -> dict[str, Any]:
        """For the record: the share of zeros, and where the others are. Weights that are zero of themselves, as a
        proximal penalty leaves them, are none that survive."""
        weights = sum(mask.numel() for mask in self.gone.values())
        gone, tensors = 0, self._weights()
        inputs = multiplied(bare(self._model)).inputs
        looks: dict[str, Any] = {}
        for name, mask in self.gone.items():  # one at a time: whole, they take a byte for each weight
            zero = whole(mask | (tensors[name].detach() == 0))
            gone += int(zero.sum())
            looks |= {part: look(~each).to_json() for part, each in matrices({name: zero}, inputs)}
        return {"sparsity": gone / weights if weights else 0.0, "matrices": looks}

    @torch.no_grad()
    def hold(self) -> None:
        """What is gone is zero."""
        weights = self._weights() if self._kept else {}
        for name, kept in self._kept.items():
            kept.only_(local(weights[name]))

    @torch.no_grad()
    def forget(self, optimizer: torch.optim.Optimizer) -> None:
        """So is what the optimizer remembers of it."""
        weights = self._weights() if self._kept else {}
        for name, kept in self._kept.items():
            for state in states_of(optimizer, weights[name]):
                kept.only_(local(state))

    def release(self) -> None:
        """Nothing is gone any more: weights and gradients are what the optimizer makes of them."""
        _remove(self._hooks)
        for held in (self._hooks, self.gone, self._kept):
            held.clear()

    def _weights(self) -> dict[str, nn.Parameter]:
        return dict(bare(self._model).named_parameters())


def _hook(weight: Tensor, kept: Kept) -> RemovableHandle:
    """On the gradient of a weight. A sharded one gets its gradient summed up from all ranks, and is told after that."""
    if is_sharded(weight):
        return weight.register_post_accumulate_grad_hook(_after(kept))
    return weight.register_hook(_only(kept))


def _after(kept: Kept) -> Callable[[Tensor], None]:
    @unserializable_hook
    @torch.no_grad()
    def hook(weight: Tensor) -> None:
        if weight.grad is not None:
            kept.only_(local(weight.grad))

    return hook


def _only(kept: Kept) -> Callable[[Tensor], Tensor]:
    @unserializable_hook
    @torch.no_grad()
    def hook(gradient: Tensor) -> Tensor:
        return kept.of(gradient)

    return hook


def _remove(hooks: dict[str, RemovableHandle]) -> None:
    for handle in hooks.values():
        handle.remove()


__all__ = ["Zeros"]
