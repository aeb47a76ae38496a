"""Optimizer state through a cut: groups hold the new parameters, moments lose the same entries, or we refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from niwaki.errors import CannotFollow
from niwaki.surgery.joined import Joined
from niwaki.surgery.slices import select
from niwaki.surgery.states import Shrink, known

Dims = Mapping[int, Mapping[int, tuple[int, ...]]]


def layers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers inside this one (a look-ahead's, say), innermost first, and itself; without mere wrappers (such as
    Accelerate's), whose groups and state are those of the one inside."""
    if isinstance(optimizer, Joined):
        return [layer for each in optimizer.each for layer in layers(each)]
    found: list[torch.optim.Optimizer] = []
    for value in list(vars(optimizer).values()):
        if isinstance(value, torch.optim.Optimizer):
            found += layers(value)
    if any(o.state is optimizer.state and o.param_groups is optimizer.param_groups for o in found):
        return found
    return [*found, optimizer]


def check(optimizer: torch.optim.Optimizer, names: Mapping[int, str], dims: Dims) -> None:
    """Raise :class:`CannotFollow` if a parameter that shrinks (``names`` and ``dims``: by id) has state that cannot be
    cut along, or if the optimizer holds it where nobody would exchange it."""
    check_own(optimizer, names)
    for each in layers(optimizer):
        odd = _odd(each)
        for parameter, state in each.state.items():
            if id(parameter) in names:
                for key, value in state.items():
                    _check_state(each, names[id(parameter)], tuple(parameter.shape), key, value, odd)
                _ruled(each, state, Shrink(tuple(parameter.shape), dims[id(parameter)]))  # as a trial


def check_own(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> None:
    """The latter alone, which can be told before any step."""
    for each in layers(optimizer):
        _check_own(each, names)


def follow(optimizer: torch.optim.Optimizer, fresh: Mapping[int, Tensor], dims: Dims) -> int:
    """Exchange old parameters (by id) for ``fresh`` ones in groups and state; returns how many tensors were cut."""
    return sum(_follow(each, fresh, dims) for each in layers(optimizer))


def _follow(optimizer: torch.optim.Optimizer, fresh: Mapping[int, Tensor], dims: Dims) -> int:
    for group in optimizer.param_groups:
        group["params"][:] = [fresh.get(id(p), p) for p in group["params"]]
    cut = 0
    for old in [p for p in optimizer.state if id(p) in fresh]:
        state = optimizer.state.pop(old)
        ruled = _ruled(optimizer, state, Shrink(tuple(old.shape), dims[id(old)]))
        for key, value in state.items():
            if key in ruled:
                state[key] = ruled[key]
                cut += 1
            elif _has_entries(value):
                state[key] = select(value, dims[id(old)])
                cut += 1
        optimizer.state[fresh[id(old)]] = state
    return cut


def _ruled(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], shrink: Shrink) -> Mapping[str, Any]:
    """What the optimizer's own rule makes of a parameter's state."""
    found = known(optimizer)
    if found is None or not found.keys & set(state):
        return {}
    made = found.rule(state, shrink)
    if set(made) != found.keys & set(state):
        raise CannotFollow(
            f"the rule for {type(optimizer).__name__} returned {sorted(made)}, and the state has "
            f"{sorted(found.keys & set(state))} of its keys"
        )
    return made


def _check_own(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> None:
    settings = {f"param_groups[{k}]": _settings(g) for k, g in enumerate(optimizer.param_groups)}
    for place, value in {**_attributes(optimizer), **settings}.items():
        if any(id(t) in names for t in _tensors(value)):
            raise CannotFollow(
                f"{type(optimizer).__name__} keeps parameters of its own in {place!r} and would go on with the old "
                "ones. Cut between runs and make a new optimizer."
            )


def _attributes(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {name: value for name, value in vars(optimizer).items() if name not in ("param_groups", "state")}


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def strange_keys(optimizer: torch.optim.Optimizer) -> set[str]:
    """Keys of state that need not have a number for each entry of its parameter: odd ones, and those that a rule is
    for."""
    found = known(optimizer)
    return _odd(optimizer) | set(found.keys if found else ())


def _odd(optimizer: torch.optim.Optimizer) -> set[str]:
    """Keys of state that has another shape than its parameter somewhere: where the shapes agree, they do so by chance
    (a square matrix of a preconditioner). Those of the optimizer's rule are not odd."""
    found = known(optimizer)
    odd = {
        key
        for parameter, state in optimizer.state.items()
        if isinstance(state, Mapping)
        for key, value in state.items()
        if isinstance(parameter, Tensor) and _has_entries(value) and value.shape != parameter.shape
    }
    return odd - (found.keys if found else set())


def _check_state(
    optimizer: torch.optim.Optimizer, name: str, shape: tuple[int, ...], key: str, value: object, odd: set[str]
) -> None:
    found = known(optimizer)
    if found is not None and key in found.keys:
        return
    inside = [] if isinstance(value, Tensor) else [t for t in _tensors(value) if _has_entries(t)]
    if inside or (key in odd and _has_entries(value)):
        kept = f"{key!r} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"tensors in {key!r}"
        raise CannotFollow(
            f"{type(optimizer).__name__} keeps {kept} for {name!r} of shape {shape}: which of its entries belong to "
            "what goes is not known. Say it with nk.optimizer_rule, or cut between runs and make a new optimizer, or "
            "use one that keeps its state in the parameter's shape (SGD, Adam, AdamW, RMSprop)."
        )


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in plain containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inside in [*value.keys(), *value.values()]:
            yield from _tensors(inside)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inside in value:
            yield from _tensors(inside)


def _has_entries(value: object) -> bool:
    """Step counters and other scalars belong to the whole parameter."""
    return isinstance(value, Tensor) and value.dim() > 0 and value.numel() > 1
