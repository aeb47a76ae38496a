"""Copies of models that torch itself will not copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def duplicate(model: Model, memo: Mapping[int, Any] | None = None) -> Model:
    """A deep copy, also of a model whose modules keep a tensor that was computed with a gradient (weight norm, pruning
    and spectral norm of the old style put ``module.weight`` there at every forward pass): of those, the values.

    ``memo``: what is put in place of which tensors, by id.
    """
    known = dict(memo or {})
    for t in _computed(model):
        if id(t) not in known:
            known[id(t)] = t.detach().clone()
    return copy.deepcopy(model, known)


def _computed(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        for value in vars(module).values():
            for t in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(t, Tensor) and t.grad_fn is not None:
                    yield t


__all__ = ["duplicate"]
