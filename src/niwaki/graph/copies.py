"""Copies of models and of arguments that torch itself will not copy."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from niwaki.errors import BadInput
from niwaki.ranks import is_sharded, plainly

Model = TypeVar("Model", bound=nn.Module)
_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def duplicate(model: Model, memo: Mapping[int, Any] | None = None) -> Model:
    """A deep copy, also of a model whose modules keep a tensor that was computed with a gradient (weight norm, pruning
    and spectral norm of the old style put ``module.weight`` there at every forward pass): of those, the values.

    ``memo``: what is put in place of which tensors, by id.

    Raises:
        BadInput: a parameter is sharded, or sparse.
    """
    known = dict(memo or {})
    for t in _computed(model):
        if id(t) not in known:
            known[id(t)] = t.detach().clone()
    held = next((name for name, p in model.named_parameters() if is_sharded(p) and id(p) not in known), None)
    if held is not None:
        raise BadInput(
            f"{type(model).__name__} is sharded ({held!r} lies on several ranks) and cannot be copied. Prune it in "
            "place, with nk.Pruning or nk.cut_, or make the copy before fully_shard"
        )
    _refuse_sparse(model, known)
    with plainly(model):
        twin = copy.deepcopy(model, known)
    _copy_attributes(model, twin, known)
    return twin


def _refuse_sparse(model: nn.Module, known: Mapping[int, Any]) -> None:
    """torch copies no parameter of a sparse layout, and what single weights are worth is told of dense ones."""
    found = {n: p.layout for n, p in model.named_parameters() if p.layout in _SPARSE and id(p) not in known}
    if found:
        name, layout = next(iter(found.items()))
        others = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise BadInput(
            f"the parameter {name!r} of {type(model).__name__} is sparse ({layout}{others}), and dense ones are taken. "
            "Put a dense one in its place: layer.weight = nn.Parameter(layer.weight.to_dense()) (of a frozen one with "
            "requires_grad=False)"
        )


def _copy_attributes(model: nn.Module, twin: nn.Module, memo: dict[int, Any]) -> None:
    """What users keep on a parameter (``p._no_weight_decay = True``, ``p.owner = module``), which torch copies with
    buffers alone. ``memo``: of the copy, whose own modules and tensors take the place of the model's."""
    copies = dict(twin.named_parameters())
    for name, old in model.named_parameters():
        if is_simple(old) and name in copies:
            for key in vars(old).keys() - vars(copies[name]).keys():
                vars(copies[name])[key] = _copied(vars(old)[key], memo)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; the value itself where it cannot be copied (a lock, a file)."""
    if isinstance(value, Tensor) and value.grad_fn is not None and id(value) not in memo:
        memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        return value


def is_simple(t: Tensor) -> bool:
    """Does it hold its values itself, and nothing on it but what users put there? Fake and sharded ones do not."""
    return type(t).__torch_dispatch__ is Tensor.__torch_dispatch__


Value = TypeVar("Value")


def fresh(values: Value) -> Value:
    """Arguments of a call, with copies of the objects that the call could write to (a cache of keys and values)."""
    return tree_map(_fresh, values)


def apart(values: Value) -> Value:
    """The same, with copies of the tensors too, which a call could write to as well. One given twice is one copy."""
    copies: dict[int, Tensor] = {}

    def each(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in copies:
            copies[id(leaf)] = leaf.detach().clone().requires_grad_(leaf.requires_grad)
        return copies[id(leaf)]

    return tree_map(each, fresh(values))


def _fresh(leaf: Any) -> Any:
    if leaf is None or callable(leaf) or isinstance(leaf, (Tensor, str, bytes, int, float, complex, enum.Enum)):
        return leaf
    return copy.deepcopy(leaf, {id(t): t.detach().clone() for t in _within(leaf, set()) if t.grad_fn is not None})


def _within(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in an object, however deep."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, (list, tuple, set)):
        inside: Iterable[Any] = value
    elif isinstance(value, Mapping):
        inside = value.values()
    else:
        inside = vars(value).values() if hasattr(value, "__dict__") else ()
    for item in inside:
        yield from _within(item, seen)


def _computed(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        for value in vars(module).values():
            for t in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(t, Tensor) and t.grad_fn is not None:
                    yield t


__all__ = ["apart", "duplicate", "fresh", "is_simple"]
