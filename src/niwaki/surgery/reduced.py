"""Averages that leave removed units out: what a masked model must do to be compared with a cut one.

Where a norm, a mean or a softmax runs over units that go, the cut model averages over fewer values. The masked model
does the same when just those calls are given only the positions that stay. The trace knows which calls they are, by
their place in the order of such calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from niwaki.graph import Graph
from niwaki.graph.turnstile import Turnstile
from niwaki.units import Plan

SPREAD = frozenset(
    {"batch_norm", "instance_norm", "layer_norm", "rms_norm", "group_norm", "softmax", "log_softmax", "softmin"}
)
"""Functions whose result has the dimension that they run over."""
RANKED = frozenset({"topk", "argmax"})
"""Functions that pick positions: removed ones must lose."""


@dataclass(frozen=True)
class Reduction:
    """The call runs over dimension ``dim``, and these of its ``size`` positions stay."""

    function: str
    dim: int
    size: int
    kept: tuple[int, ...]


Reductions = Mapping[int, "tuple[Reduction, ...]"]
"""By the turn of the call."""


def reductions(graph: Graph, plan: Plan) -> Reductions:
    """The calls of the model's forward pass that run over units which the plan removes."""
    gone = graph.atoms_gone(plan.removed)
    found: dict[int, dict[int, Reduction]] = {}
    for s in graph.ledger.statistics:
        if gone[s.ids].any():
            kept = tuple((~gone[s.ids]).nonzero()[0].tolist())
            found.setdefault(s.turn, {})[s.dim] = Reduction(s.function, s.dim, s.ids.size, kept)
    return {turn: tuple(by_dim.values()) for turn, by_dim in found.items()}


class Reduced(Turnstile):
    """Inside, the calls named by ``over`` see only what stays. ``missed`` says why a call could not be found."""

    def __init__(self, over: Reductions) -> None:
        super().__init__()
        self._over = over
        self.missed = ""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self.current is not None
        name, turn = self.current
        todo = self._over.get(turn)
        if todo is None:
            return func(*args, **kwargs)
        source = args[0] if args else kwargs["input"]
        if any(t.function != name or source.shape[t.dim] != t.size for t in todo):
            self.missed = f"call {turn} is {name} over {tuple(source.shape)} now, it was {todo[0].function} before"
            return func(*args, **kwargs)
        return _ranked(func, args, kwargs, todo) if name in RANKED else _narrowed(name, func, args, kwargs, todo)


def _ranked(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], todo: tuple[Reduction, ...]) -> Any:
    """Removed positions are given the least of all values."""
    arguments = _Arguments(args, kwargs)
    source = arguments.source
    for t in todo:
        stays = torch.zeros(t.size, dtype=torch.bool, device=source.device)
        stays[list(t.kept)] = True
        shape = [t.size if d == t.dim else 1 for d in range(source.dim())]
        source = source.masked_fill(~stays.reshape(shape), -torch.inf)
    return arguments.call(func, source)


def _narrowed(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], todo: tuple[Reduction, ...]) -> Any:
    """The function of the positions that stay; where its result has the dimension, zeros take the place of the rest."""
    arguments = _Arguments(args, kwargs)
    source = arguments.source
    for t in todo:
        index = torch.tensor(t.kept, device=source.device)
        source = source.index_select(t.dim, index)
        arguments.narrow_vectors(name, t, index, arguments.source.dim())
    arguments.resize(name, source)
    result = arguments.call(func, source)
    if name not in SPREAD:
        return result
    for t in todo:
        wide = [*result.shape[: t.dim], t.size, *result.shape[t.dim + 1 :]]
        index = torch.tensor(t.kept, device=result.device)
        result = result.new_zeros(wide).index_copy(t.dim, index, result)
    return result


_VECTORS = {"layer_norm": (2, 3), "rms_norm": (2,), "group_norm": (2, 3)}
"""Positions of weight and bias among the arguments."""


class _Arguments:
    """The arguments of a call, by place and by name, while they are changed."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = list(args), dict(kwargs)
        self.source: Tensor = args[0] if args else kwargs["input"]

    def call(self, func: Any, source: Tensor) -> Any:
        if self._args:
            return func(source, *self._args[1:], **self._kwargs)
        return func(**{**self._kwargs, "input": source})

    def narrow_vectors(self, name: str, t: Reduction, index: Tensor, rank: int) -> None:
        """The weight and bias of a norm lose the same positions."""
        for place, key in zip(_VECTORS.get(name, ()), ("weight", "bias"), strict=False):
            vector = self._get(place, key)
            if isinstance(vector, Tensor):
                dim = 0 if name == "group_norm" else t.dim - (rank - vector.dim())
                self._set(place, key, vector.index_select(dim, index))

    def resize(self, name: str, source: Tensor) -> None:
        """The lengths that a norm is told."""
        if name in ("layer_norm", "rms_norm"):
            count = len(self._get(1, "normalized_shape"))
            self._set(1, "normalized_shape", tuple(source.shape[-count:]))
        if name == "group_norm" and self._get(1, "num_groups") == self.source.shape[1]:
            self._set(1, "num_groups", source.shape[1])

    def _get(self, place: int, key: str) -> Any:
        return self._args[place] if place < len(self._args) else self._kwargs.get(key)

    def _set(self, place: int, key: str, value: Any) -> None:
        if place < len(self._args):
            self._args[place] = value
        else:
            self._kwargs[key] = value


__all__ = ["Reduced", "Reductions", "reductions"]
