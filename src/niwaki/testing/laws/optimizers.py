"""Laws of the optimizer: its state follows a cut, or the cut is refused and nothing was touched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from niwaki.errors import CannotFollow
from niwaki.scores import Random
from niwaki.surgery.cut import cut_
from niwaki.surgery.decide import plan as choose
from niwaki.targets import Ratio
from niwaki.testing.laws.exercise import Exercise, Make, OptimizerFactory, backward
from niwaki.testing.laws.verdict import (
    LawBroken,
    attempting,
    demand,
    first_difference,
    same_bits,
    worst_difference,
)
from niwaki.tracing import trace
from niwaki.units import Axis, Plan

WARM_UP = 3
FACTORS = {"row_var", "col_var", "exp_avg_sq_row", "exp_avg_sq_col"}
Moments = dict[str, dict[str, Any]]


def optimizer_follows(make: Make, optimizer_factory: OptimizerFactory, *, ratio: float = 0.4, seed: int = 0) -> None:
    """After a cut inside training the optimizer's moments are the old ones at the kept entries (factored ones stand for
    the old estimate there); it holds every live parameter and no dead one; and in the next step every live parameter
    that has a gradient moves.

    Raises:
        LawBroken: with the parameter and the piece of state.
    """
    work, optimizer, plan = _warmed_up(make, optimizer_factory, ratio, seed)
    before, settings = _moments(work.model, optimizer), _settings(work.model, optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = [name for name, p in work.model.named_parameters() if id(p) in held]
    with attempting(f"cutting with {type(optimizer).__name__}"):
        cut_(work.model, plan, optimizer)
    _holds_the_living(work.model, optimizer, names)
    demand(_settings(work.model, optimizer) == settings, "the optimizer's parameter groups changed in the cut")
    _moments_follow(before, _moments(work.model, optimizer), plan)
    _all_move(work, optimizer, names)


def optimizer_is_refused(make: Make, optimizer_factory: OptimizerFactory, *, ratio: float = 0.4, seed: int = 0) -> None:
    """An optimizer whose state cannot be cut along is refused with ``CannotFollow``; model and optimizer stay.

    Raises:
        LawBroken: it was not refused, or something was touched.
    """
    work, optimizer, plan = _warmed_up(make, optimizer_factory, ratio, seed)
    before, identities = _everything(work.model, optimizer), _identities(work.model, optimizer)
    kind = type(optimizer).__name__
    try:
        cut_(work.model, plan, optimizer)
    except CannotFollow:
        place = first_difference(before, _everything(work.model, optimizer))
        demand(place is None, f"{kind} was refused, but {place} was changed")
        demand(identities == _identities(work.model, optimizer), f"{kind} was refused, but tensors were exchanged")
        return
    except Exception as trouble:
        raise LawBroken(f"{kind} was not refused, the cut failed: {type(trouble).__name__}: {trouble}") from trouble
    raise LawBroken(f"{kind} keeps state that cannot be cut along, and the cut went ahead")


def _warmed_up(
    make: Make, factory: OptimizerFactory, ratio: float, seed: int
) -> tuple[Exercise, torch.optim.Optimizer, Plan]:
    """An exercise a few steps in, so that there are moments, and a plan that takes something."""
    work = make()
    optimizer = factory(work.model.parameters())
    for step in range(WARM_UP):
        backward(work, optimizer, step)
        optimizer.step()
    plan = choose(trace(work.model, work.inputs), Random(seed), Ratio(ratio))
    demand(bool(plan.removed), "no unit went, so the law was not tried; ask for a larger ratio")
    return work, optimizer, plan


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> Moments:
    """The optimizer's state by parameter name, copied."""
    return {
        name: {key: v.detach().clone() if isinstance(v, Tensor) else v for key, v in optimizer.state[p].items()}
        for name, p in model.named_parameters()
        if p in optimizer.state
    }


def _settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Each group's settings, with the names of its parameters in their order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [{**g, "params": [names.get(id(p), "a dead one") for p in g["params"]]} for g in optimizer.param_groups]


def _holds_the_living(model: nn.Module, optimizer: torch.optim.Optimizer, names: list[str]) -> None:
    living = {id(p): name for name, p in model.named_parameters()}
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    lost = set(names) - {living[i] for i in held if i in living}
    demand(not lost, f"after the cut the optimizer no longer trains {sorted(lost)}")
    demand(all(i in living for i in held), "after the cut the optimizer's groups hold a parameter that is dead")
    dead = [tuple(p.shape) for p in optimizer.state if id(p) not in living]
    demand(not dead, f"after the cut the optimizer keeps state for dead parameters of shapes {dead}")


def _moments_follow(before: Moments, after: Moments, plan: Plan) -> None:
    demand(before.keys() == after.keys(), f"state was lost or gained: {sorted(before.keys() ^ after.keys())}")
    for name, state in before.items():
        demand(state.keys() == after[name].keys(), f"the state of {name!r} has other keys after the cut")
        _estimate_follows(state, after[name], name, plan)
        for key, old in state.items():
            if key in FACTORS:
                continue
            expected, found = _kept(old, name, plan), after[name][key]
            alike = same_bits(expected, found) if isinstance(expected, Tensor) else expected == found
            demand(alike, f"{key!r} of {name!r} is not the old one at the kept entries")


def _estimate_follows(before: dict[str, Any], after: dict[str, Any], name: str, plan: Plan) -> None:
    """Means over fewer entries are other means; what they say of an entry that stays is not."""
    if not FACTORS & set(before):
        return
    old, found = _kept(_estimate(before), name, plan), _estimate(after)
    demand(old.shape == found.shape, f"the factors of {name!r} are not along its dimensions after the cut")
    gap = worst_difference([old], [found])
    demand(gap < 1e-5, f"the factors of {name!r} stand for other moments after the cut: relative difference {gap:.1e}")


def _estimate(state: dict[str, Any]) -> Tensor:
    """The second moment for which factors stand, in double precision: rows × columns / mean of the rows."""
    if "row_var" in state:
        rows, columns = state["row_var"].double(), state["col_var"].double()
    else:
        rows = state["exp_avg_sq_row"].double().unsqueeze(-1)
        columns = state["exp_avg_sq_col"].double().unsqueeze(-2)
    return rows * columns / rows.mean(-2, keepdim=True)


def _kept(value: Any, name: str, plan: Plan) -> Any:
    if isinstance(value, Tensor) and tuple(value.shape) == plan.tensors[name]:
        for dim in range(value.dim()):
            value = value.index_select(dim, torch.tensor(plan.kept(Axis(name, dim)), device=value.device))
    return value


def _all_move(work: Exercise, optimizer: torch.optim.Optimizer, names: list[str]) -> None:
    with attempting("the first step after the cut"):
        backward(work, optimizer, WARM_UP)
        live = {name: p for name, p in work.model.named_parameters() if name in names and p.grad is not None}
        old = {name: p.detach().clone() for name, p in live.items()}
        for p in live.values():
            # Not the loss's own: a bias before a batch norm has one of rounding noise, too small to move it.
            p.grad = torch.ones_like(p)
        optimizer.step()
    still = [name for name, p in live.items() if torch.equal(old[name], p.detach())]
    demand(not still, f"{still} have a gradient and did not move in the step after the cut")


def _everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    copied: dict[str, Any] = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, state)
    return copied


def _identities(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[int]:
    held = [p for group in optimizer.param_groups for p in group["params"]]
    return [id(t) for t in [*model.parameters(), *model.buffers(), *held, *optimizer.state]]
