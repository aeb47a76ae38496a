"""Which adapter belongs to which class, and who is called after a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, CannotFollow
from niwaki.graph.numbers import FOLLOWED
from niwaki.units import Axis

Adapter = Callable[[Any, "Change"], None]
Surround = Callable[[Any], None]
Kind = type | str
"""A module class; or its full name, ``package.module.Class``, so that a package need not be there to be known."""
ADAPTERS: dict[Kind, Adapter] = {}
SURROUNDS: dict[Kind, Surround] = {}


@dataclass(frozen=True)
class Change:
    """What a cut removed from one module's own tensors.

    ``removed``: ``(local tensor name, dim)`` to ascending indices. ``before``: local tensor name to the old shape. A
    weight that is computed from another tensor (by a parametrization, or ``weight_orig``, ``weight_v``) counts as own.
    """

    removed: Mapping[tuple[str, int], tuple[int, ...]]
    before: Mapping[str, tuple[int, ...]]

    def after(self, name: str) -> tuple[int, ...]:
        """The shape that a tensor has now."""
        shape = self.before[name]
        return tuple(n - len(self.removed.get((name, dim), ())) for dim, n in enumerate(shape))


def adapter(*classes: Kind, sets: Iterable[str] = ()) -> Callable[[Adapter], Adapter]:
    """Register an adapter for module classes (and their subclasses, unless those have their own).

    Args:
        classes: or their full names (``"package.module.Class"``), which imports nothing.
        sets: attributes that the adapter sets, so that tracing does not look for a meaning of their values.
    """
    wrong = [c for c in classes if not isinstance(c, (type, str)) or (isinstance(c, str) and "." not in c)]
    if wrong:
        raise BadInput(f"an adapter is for module classes or full names like 'package.module.Class', not {wrong[0]!r}")

    def register(function: Adapter) -> Adapter:
        for cls in classes:
            ADAPTERS[cls] = function
            FOLLOWED[cls] = FOLLOWED.get(cls, frozenset()) | frozenset(sets)
        return function

    return register


def surround(*classes: Kind) -> Callable[[Surround], Surround]:
    """Register a function for classes that hold the modules that were cut, and keep numbers about them. It is given the
    module, after everything inside it was set right."""

    def register(function: Surround) -> Surround:
        for cls in classes:
            SURROUNDS[cls] = function
        return function

    return register


def follow(model: nn.Module, removed: Mapping[Axis, tuple[int, ...]], before: Mapping[str, tuple[int, ...]]) -> None:
    """Let every module that lost tensor entries set its own numbers right, and then those around it."""
    touched = list(_touched(model, removed))
    for each in touched:
        if isinstance(each.module, torch.jit.ScriptModule):
            raise CannotFollow(
                f"{each.name or 'the model'!r} is scripted (torch.jit.script or trace), and what was compiled for its "
                "sizes cannot be cut. Prune the module that it was made of, and script that afterwards."
            )
        function = _found(ADAPTERS, type(each.module))
        if function is not None:
            function(each.module, Change(each.gone, {local: before[name] for local, name in each.own.items()}))
    for _, holder, around in _surrounding(model, touched):
        around(holder)


def followers(model: nn.Module, removed: Mapping[Axis, tuple[int, ...]]) -> Iterator[tuple[str, Adapter | Surround]]:
    """The functions that follow such a cut of this model, cut or not, each with the name of its module."""
    touched = list(_touched(model, removed))
    for each in touched:
        if (function := _found(ADAPTERS, type(each.module))) is not None:
            yield each.name, function
    yield from ((name, around) for name, _, around in _surrounding(model, touched))


@dataclass(frozen=True, eq=False)
class _Touched:
    """A module that loses entries. ``own``: its tensors by local name, as the model calls them. ``gone``: as in
    :class:`Change`."""

    name: str
    module: nn.Module
    own: Mapping[str, str]
    gone: Mapping[tuple[str, int], tuple[int, ...]]


def _touched(model: nn.Module, removed: Mapping[Axis, tuple[int, ...]]) -> Iterator[_Touched]:
    names = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
    by_name: dict[str, dict[int, tuple[int, ...]]] = {}
    for axis, indices in removed.items():
        by_name.setdefault(axis.name, {})[axis.dim] = indices
    for name, module in model.named_modules():
        own = {local: names[id(t)] for local, t in _own(module)}
        gone = {(local, dim): ids for local, of in own.items() for dim, ids in by_name.get(of, {}).items()}
        if gone:
            yield _Touched(name, module, own, gone)


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The module's own tensors by local name; and what a computed weight is made from, under the weight's name."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    yield from own
    for local, t in own:
        for suffix in ("_orig", "_v"):  # of pruning and spectral norm, and of weight norm, as hooks do them
            name = local.removesuffix(suffix)
            made = vars(module).get(name) if name != local else None
            if isinstance(made, Tensor) and made.dim() == t.dim():
                yield name, t
    if isinstance(lists := getattr(module, "parametrizations", None), nn.ModuleDict):
        for name, inside in lists.items():
            originals = [t for _, t in inside.named_parameters(recurse=False)]
            if originals:
                yield name, max(originals, key=Tensor.numel)


def _surrounding(model: nn.Module, touched: Iterable[_Touched]) -> Iterator[tuple[str, nn.Module, Surround]]:
    """Modules with a function in the table that hold one that was touched, inner ones first."""
    inside = {id(each.module) for each in touched}
    for name, module in reversed(list(model.named_modules())):
        function = _found(SURROUNDS, type(module))
        if function is not None and any(id(m) in inside for m in module.modules()):
            yield name, module, function


def _found(table: Mapping[Kind, Any], cls: type) -> Any:
    kinds = (kind for base in cls.__mro__ for kind in (base, f"{base.__module__}.{base.__qualname__}"))
    return next((table[kind] for kind in kinds if kind in table), None)
