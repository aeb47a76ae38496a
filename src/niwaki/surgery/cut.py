"""Remove what a plan removes, really: smaller tensors, and everything that must follow them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, CannotFollow, StalePlan
from niwaki.graph.copies import duplicate, is_simple
from niwaki.packed import PackedLinear
from niwaki.ranks import dealt_out_again, fully_sharded, plainly, resharded
from niwaki.surgery import optimizer as follower
from niwaki.surgery.beside import check_beside
from niwaki.surgery.hugging import Following, follow_config
from niwaki.surgery.modules import follow
from niwaki.surgery.numbers import check_numbers, set_numbers
from niwaki.surgery.slices import replace, select
from niwaki.units import Axis, Plan
from niwaki.wrappers import bare, unwrapped

Model = TypeVar("Model", bound=nn.Module)
ATTRIBUTE = "_niwaki_plan"


@dataclass(frozen=True)
class Receipt:
    """What a cut did. ``tensors``: changed ones, name to (old shape, new shape). ``states``: optimizer tensors cut.
    ``config``: what became of the config of a Hugging Face model; None if there is none."""

    plan: Plan
    tensors: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    states: int = 0
    config: Following | None = None

    def __str__(self) -> str:
        before, after = (sum(_count(pair[k]) for pair in self.tensors.values()) for k in (0, 1))
        text = f"cut {len(self.tensors)} tensors from {before:,} to {after:,} entries"
        text = f"{text}, {self.states} optimizer tensors with them" if self.states else text
        return f"{text}; {self.config}" if self.config else text


def cut(model: Model, plan: Plan, *, config: bool = True) -> Model:
    """A really smaller copy of ``model``; the model itself is untouched.

    Args:
        model: out of ``torch.compile`` and data parallelism it is unwrapped, and so is the copy. plan: which units go.
        config: let the fields of a Hugging Face model's config follow, where they can say what is left.

    Raises:
        StalePlan: the plan was made for another model.
        CannotFollow: a function on a module holds what shrinks.
    """
    model = unwrapped(model, "the cut model")
    check_plan(model, plan)
    tensors = _under_every_name(model)  # of this model: a copy has the same functions, which hold these
    check_beside(model, {id(tensors[name]): name for name in by_tensor(plan.removed)})
    small = duplicate(model)
    cut_(small, plan, config=config)
    return small


def cut_(
    model: nn.Module, plan: Plan, optimizer: torch.optim.Optimizer | None = None, *, config: bool = True
) -> Receipt:
    """Cut ``model`` in place. What shrinks becomes a new tensor under every name and module that held the old one;
    the optimizer's parameter groups and state follow. All is checked before anything is touched.

    (New tensors, not resized ones: a loss that is still alive holds the old shapes in its graph.)

    Args: as for :func:`cut`. optimizer: the one that trains the model.

    Raises:
        StalePlan: the plan was made for another model.
        CannotFollow: the optimizer, a hook on a parameter or a function on a module holds what cannot be cut along.
    """
    model = unwrapped(model, "what is cut")
    resharded(model)
    check_plan(model, plan)
    check_numbers(model, plan.numbers)
    lost = by_tensor(plan.removed)
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    names = {id(tensors[name]): name for name in lost}
    for name in lost:
        _refuse_hooks(name, tensors[name])
    check_beside(model, names)
    dims = {id(tensors[name]): gone for name, gone in lost.items()}
    if optimizer is not None:
        follower.check(optimizer, names, dims)
    before = {name: tuple(t.shape) for name, t in tensors.items()}
    fresh = {id(tensors[name]): _shrunk(tensors[name], gone) for name, gone in lost.items()}
    replace(model, fresh)
    if fully_sharded(model):
        dealt_out_again(model)
    states = 0
    if optimizer is not None:
        states = follower.follow(optimizer, fresh, dims)
    follow(model, plan.removed, before)
    set_numbers(model, plan.numbers)
    attach(model, plan)
    changed = {name: (before[name], plan.shape(name)) for name in lost}
    with plainly(model):
        told = follow_config(model, [plan, _whole(model)]) if config else None
    return Receipt(plan, changed, states, told)


def plan_of(model: nn.Module) -> Plan | None:
    """The plan by which ``model`` was cut from its dense form; None if it never was."""
    return getattr(bare(model), ATTRIBUTE, None)


def _whole(model: nn.Module) -> Plan:
    """All that was cut from the dense model so far."""
    plan = plan_of(model)
    assert plan is not None
    return plan


def attach(model: nn.Module, plan: Plan) -> None:
    """Remember the plan on the model; a second cut is remembered as one plan from the dense model."""
    earlier = plan_of(model)
    object.__setattr__(model, ATTRIBUTE, plan if earlier is None else earlier.then(plan))


def check_plan(model: nn.Module, plan: Plan) -> None:
    """Raise :class:`StalePlan` unless the plan was made for this model, :class:`BadInput` if it is none."""
    if not isinstance(plan, Plan):
        raise BadInput(f"expected a plan (of nk.plan or Plan.load), found {type(plan).__name__}")
    if any(isinstance(m, PackedLinear) for m in model.modules()):
        raise BadInput(
            f"{type(model).__name__} is packed: its layers hold what is left of their weights, where a plan's indices "
            "mean nothing. Mask and cut first, pack last."
        )
    plan.check(shapes_of(model))
    _check_ties(model, plan)


def _check_ties(model: nn.Module, plan: Plan) -> None:
    """Raise :class:`StalePlan` where what shrinks is shared by two names in the plan and not in the model, or the other
    way round: one of the two would stay as it is."""
    tensors = _under_every_name(model)
    lost = by_tensor(plan.removed).keys()
    for name, first in plan.aliases.items():
        if first in lost and name in tensors and tensors[name] is not tensors[first]:
            raise StalePlan(
                f"the plan is of a model in which {name!r} shares memory with {first!r}, and in this "
                f"{type(bare(model)).__name__} it does not: tie them first (model.tie_weights(), if it is of "
                "transformers), or make the plan of this model"
            )
    firsts: dict[int, str] = {}
    for name in plan.tensors:
        first = firsts.setdefault(id(tensors[name]), name)
        if first != name and {first, name} & lost:
            raise StalePlan(
                f"the plan is of a model in which {name!r} and {first!r} are two tensors, and in this "
                f"{type(bare(model)).__name__} they share memory: give each its own first, or make the plan of this "
                "model"
            )


def _under_every_name(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, shared ones under each of their names."""
    model = bare(model)
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters and buffers by name, under every name of shared ones."""
    return {name: tuple(t.shape) for name, t in _under_every_name(model).items()}


def _shrunk(t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Tensor:
    """The smaller tensor, with gradient, class and attributes of the old one."""
    small = select(t.detach(), dims)
    if isinstance(t, nn.Parameter):
        small = _parameter(small, t)
        if t.grad is not None:
            small.grad = select(t.grad, dims)
    if is_simple(t):
        small.__dict__.update({name: _along(value, t, dims) for name, value in vars(t).items()})
    return small


def _parameter(small: Tensor, like: nn.Parameter) -> Tensor:
    """Of the user's own class, if that is one of parameters. (A sharded one is a parameter and of a class beside.)"""
    if nn.Parameter in type(like).__mro__[1:] and is_simple(like):
        return small.as_subclass(type(like)).requires_grad_(like.requires_grad)
    return nn.Parameter(small, requires_grad=like.requires_grad)


def _along(value: Any, t: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Any:
    """What was kept on a tensor; a tensor of its shape, a mask say, without the same entries."""
    if not isinstance(value, Tensor) or value.shape != t.shape:
        return value
    return select(value.detach(), dims).requires_grad_(value.requires_grad)


def is_hooked(t: Tensor) -> bool:
    """Has it a hook of its own, which no new tensor would have?"""
    return bool(getattr(t, "_backward_hooks", None) or getattr(t, "_post_accumulate_grad_hooks", None))


def _refuse_hooks(name: str, t: Tensor) -> None:
    if is_hooked(t):
        raise CannotFollow(
            f"{name!r} has a hook on it, which would stay with the old tensor. Remove the hook, cut, and register it"
            " again."
        )


def by_tensor(removed: Mapping[Axis, tuple[int, ...]]) -> dict[str, dict[int, tuple[int, ...]]]:
    """What goes, by tensor and dimension."""
    result: dict[str, dict[int, tuple[int, ...]]] = {}
    for axis, indices in removed.items():
        if indices:
            result.setdefault(axis.name, {})[axis.dim] = indices
    return result


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


__all__ = ["Receipt", "attach", "by_tensor", "cut", "cut_", "plan_of", "shapes_of"]
