"""The law of the guest: what is called on a model leaves it, and the world, as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs
from niwaki.scores import Random
from niwaki.surgery.certify import certify
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import plan as choose
from niwaki.surgery.masks import mask
from niwaki.targets import Ratio
from niwaki.testing.laws.verdict import demand, first_difference
from niwaki.testing.laws.weather import forecast, weather
from niwaki.tracing import trace

Call = tuple[str, Callable[[], Any]]


def model_is_untouched(model: nn.Module, inputs: Inputs) -> None:
    """``trace``, ``plan``, ``mask``, ``cut`` and ``certify`` leave the model's tensors, gradients, flags and modes, the
    inputs and all global random state bit for bit as they were.

    Held on a copy with gradients, some frozen parameters and some modules in train mode.

    Raises:
        LawBroken: with the call that touched something, and what.
    """
    guest = _in_use(model)
    before, identities, sky = _snapshot(guest, inputs), _identities(guest), forecast()
    for name, call in _calls(guest, inputs):
        call()
        for now, then in ((_snapshot(guest, inputs), before), (forecast(), sky)):
            place = first_difference(then, now)
            demand(place is None, f"nk.{name} changed {place} of {type(model).__name__}")
        demand(_identities(guest) == identities, f"nk.{name} exchanged tensors of {type(model).__name__}")


def _calls(model: nn.Module, inputs: Inputs) -> Iterator[Call]:
    """One call after another, each on what those before it gave."""
    given: dict[str, Any] = {}

    def call(name: str, function: Callable[..., Any], *args: Any) -> Call:
        return name, lambda: given.__setitem__(name, function(*args))

    yield call("trace", trace, model, inputs)
    yield call("plan", choose, given["trace"], Random(0), Ratio(0.4))
    yield call("mask", mask, model, given["plan"])
    yield call("cut", cut, model, given["plan"])
    yield call("certify", certify, model, given["plan"], given["cut"], inputs)


def _in_use(model: nn.Module) -> nn.Module:
    """A copy as one in the middle of training may look."""
    guest = duplicate(model)
    with weather(5):
        for k, p in enumerate(guest.parameters()):
            if p.is_floating_point():
                p.requires_grad_(k % 3 != 1)
                p.grad = torch.randn_like(p) if k % 4 else None
    for k, module in enumerate(guest.modules()):
        module.training = k % 2 == 0
    return guest


def _snapshot(model: nn.Module, inputs: Inputs) -> dict[str, Any]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {
        "tensors": {name: t.detach().clone() for name, t in named},
        "gradients": {name: None if t.grad is None else t.grad.clone() for name, t in named},
        "requires_grad": {name: t.requires_grad for name, t in named},
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "numbers": {name: _numbers(module) for name, module in model.named_modules()},
        "inputs": copy.deepcopy(inputs),
        "grad mode": torch.is_grad_enabled(),
    }


def _numbers(module: nn.Module) -> dict[str, Any]:
    """What a module keeps beside its tensors and is plain (``out_channels``, ``groups``, …)."""
    return {key: v for key, v in vars(module).items() if isinstance(v, (bool, int, float, str))}


def _identities(model: nn.Module) -> list[int]:
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    return [id(t) for t in tensors]
