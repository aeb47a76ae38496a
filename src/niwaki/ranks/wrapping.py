"""What data parallelism puts around a network: taken off for a while, and put on again after a cut."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from niwaki.errors import CannotFollow
from niwaki.ranks.shards import is_sharded

HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
STATE = "__composable_api_state_key"
ROOMS = ("torch.distributed.fsdp", "torch.distributed._composable.fsdp", "torch.distributed._composable_state")
"""Where hooks and states of ``fully_shard`` come from; others of torch's, of checkpointed activations say, stay."""


def fully_sharded(model: nn.Module) -> bool:
    """Is a module in it sharded by ``fully_shard`` (FSDP2)?"""
    return next(_shards(model), None) is not None


@contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """Inside, the modules are of the classes that they were before ``fully_shard``, without its hooks: to be copied,
    not to be run."""
    with ExitStack() as stack:
        for module in list(model.modules()) if fully_sharded(model) else ():
            stack.callback(_stripped(module))
        yield


def resharded(model: nn.Module) -> None:
    """Every parameter that a pass has left whole is given back: names lead to the parts again."""
    for module in _shards(model):
        module.reshard()


def dealt_out_again(model: nn.Module) -> None:
    """Make ``fully_shard`` know the parameters that the modules have now, as it knew the ones before; in place, and
    nothing is gathered. (What was set by methods of FSDPModule, prefetching say, is back to its default.)

    Raises:
        CannotFollow: it was used in a way that cannot be read off.
    """
    from torch.distributed.fsdp import fully_shard

    orders = list(_orders(model))
    parameters = [
        (module, name, p)
        for module in model.modules()
        for name, p in module._parameters.items()
        if p is not None and is_sharded(p)
    ]
    for module in list(model.modules()):
        _stripped(module)
    placed: dict[int, Any] = {}
    fresh: dict[int, nn.Parameter] = {}  # shared ones stay shared
    for module, name, p in parameters:
        if id(p) not in fresh:
            there = torch.empty(p.shape, dtype=p.dtype, device="meta")
            fresh[id(p)] = nn.Parameter(there, requires_grad=p.requires_grad)
            placed[id(fresh[id(p)])] = next(q for q in p.placements if q.is_shard())  # type: ignore[attr-defined]
        module._parameters[name] = fresh[id(p)]
    for order in orders:
        fully_shard(order.target, **order.settings, shard_placement_fn=lambda p: placed[id(p)])
    for module, name, p in parameters:
        module._parameters[name] = p
    for order in orders:
        for group in _groups(fully_shard.state(order.modules[0])):  # type: ignore[attr-defined]
            for each in group.fsdp_params:
                each.reset_sharded_param()


def replica(model: nn.Module) -> nn.Module:
    """The network inside ``DistributedDataParallel``; any other model itself."""
    inner: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
    return inner


def wrapped_again(model: nn.Module) -> None:
    """Let data parallelism around a model know the parameters that it has after a cut: its reducer is made anew."""
    for outer in _replicating(model):
        hooks, outer._comm_hooks = list(outer._comm_hooks), []
        outer.__setstate__(outer.__getstate__())
        for hook, state in hooks:
            outer.register_comm_hook(state, hook)


def check_wrapped(model: nn.Module) -> None:
    """Raise :class:`CannotFollow` where `wrapped_again` cannot be: it makes data parallelism anew over the default
    group."""
    for outer in _replicating(model):
        if outer.process_group is not dist.group.WORLD:
            raise CannotFollow(
                "DistributedDataParallel over a process group of its own cannot be made anew in place. Cut between "
                "runs, and wrap the cut network again: DistributedDataParallel(model.module, process_group=group)"
            )


def _replicating(model: nn.Module) -> Iterator[Any]:
    """``DistributedDataParallel`` around a model."""
    inner: Any = model
    while isinstance(inner, nn.Module):
        if isinstance(inner, DistributedDataParallel):
            yield inner
        inner = inner._modules.get("module") or inner._modules.get("_orig_mod")


@dataclass(frozen=True, eq=False)
class _Order:
    """One call of ``fully_shard``."""

    modules: tuple[nn.Module, ...]
    settings: dict[str, Any]

    @property
    def target(self) -> Any:
        return self.modules[0] if len(self.modules) == 1 else list(self.modules)


def _orders(model: nn.Module) -> Iterator[_Order]:
    """The calls that were made, inner modules first."""
    from torch.distributed.fsdp import fully_shard

    state_of: Any = fully_shard.state  # type: ignore[attr-defined]
    states = {id(state_of(module)): state_of(module) for module in reversed(list(_shards(model)))}
    groups = [_groups(state) for state in states.values()]
    known = next((each[0] for each in groups if each), None)
    ignored = {p for p in model.parameters() if not is_sharded(p)}
    for state, own in zip(states.values(), groups, strict=True):
        group = own[0] if own else known
        if group is None or len(own) > 1:
            raise CannotFollow(
                "fully_shard was called with several meshes for one module, which a cut cannot follow. Cut first, then "
                "shard: nk.prune or nk.cut on the plain model"
            )
        settings = {
            "mesh": group.mesh_info.mesh,
            "reshard_after_forward": _after_forward(state, group),
            "mp_policy": state._mp_policy,
            "offload_policy": group.offload_policy,
        }
        yield _Order(tuple(state._modules), settings | ({"ignored_params": ignored} if ignored else {}))


def _after_forward(state: Any, group: Any) -> bool | int | None:
    after = group.post_forward_mesh_info
    if getattr(state, "_auto_reshard_after_forward", False):
        return None
    if after is None or after is group.mesh_info:
        return after is not None
    size: int = after.shard_mesh_size
    return size


def _groups(state: Any) -> list[Any]:
    several = getattr(state, "_fsdp_param_groups", None)
    one = getattr(state, "_fsdp_param_group", None) if several is None else None
    return list(several or ()) + ([one] if one is not None else [])


def _shards(model: nn.Module) -> Iterator[Any]:
    # Who has called fully_shard has imported its room, which is slow to import.
    room: Any = sys.modules.get("torch.distributed.fsdp")
    for module in model.modules() if room is not None else ():
        if isinstance(module, room.FSDPModule):
            yield module


def _stripped(module: nn.Module) -> Callable[[], None]:
    """Take class, hooks and state of ``fully_shard`` off a module; what is given puts them on again."""
    from torch.distributed import _composable_state
    from torch.distributed.fsdp import FSDPModule

    kind, inside, before = type(module), vars(module), dict(vars(module))
    if isinstance(module, FSDPModule):
        module.__class__ = kind.__mro__[2]  # FSDPLinear, FSDPModule, Linear
    for name in HOOKS:
        inside[name] = type(inside[name])((k, h) for k, h in inside[name].items() if not _of_fsdp(h))
    for name in [name for name in inside if name.startswith(STATE)]:
        others = {key: state for key, state in inside.pop(name).items() if not _is_fsdp(key)}
        if others:
            inside[name] = others
    known = _composable_state._module_state_mapping.pop(module, None)

    def undo() -> None:
        module.__class__ = kind
        inside.update({name: value for name, value in before.items() if name in HOOKS or name.startswith(STATE)})
        if known is not None:
            _composable_state._module_state_mapping[module] = known

    return undo


def _of_fsdp(hook: Any) -> bool:
    home = getattr(getattr(hook, "hook", hook), "__module__", None) or ""
    return any(home == room or home.startswith(f"{room}.") for room in ROOMS)


def _is_fsdp(key: Any) -> bool:
    """Of what keeps a module's states by function, and names in a register."""
    return key == "fully_shard" if isinstance(key, str) else _of_fsdp(key)


__all__ = ["check_wrapped", "dealt_out_again", "fully_sharded", "plainly", "replica", "resharded", "wrapped_again"]
