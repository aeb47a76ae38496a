"""The tables that the laws are held over: specimens, methods, optimizers, targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import NothingToPrune
from niwaki.graph import Graph
from niwaki.methods import Choose, Cut, Mask, Method, Wait, sequence
from niwaki.testing import laws
from niwaki.testing.laws import Make
from niwaki.testing.zoo import ZOO, Specimen, specimen
from niwaki.tracing import trace

every_specimen = pytest.mark.parametrize("plant", ZOO, ids=lambda plant: plant.name)

# One of each kind of coupling, for the laws that cost the most.
VARIED = tuple(
    specimen(name)
    for name in (
        "vgg_flatten",
        "densenet",
        "resnext",
        "mobilenet_v2",
        "shufflenet_v2",
        "chunk_halves",
        "squeeze_excite_conv",
        "group_norm",
        "shared_on_branches",
        "tied_embedding",
        "glu_mlp",
        "data_dependent_if",
    )
)
varied_specimens = pytest.mark.parametrize("plant", VARIED, ids=lambda plant: plant.name)


def masked_then_cut(target: nk.targets.Target) -> Method:
    """Mask, train on under the mask, cut: a method that no paper wrote, for the part that others do not use."""
    return Method("masked_then_cut", sequence(Choose(nk.scores.L1(), target), Mask(), Wait(3), Cut()))


HALF = nk.Ratio(0.4)
METHODS: dict[str, tuple[Method, int]] = {
    "magnitude": (nk.methods.magnitude(HALF), 4),
    "greg1": (nk.methods.greg1(HALF, grow=0.4, every=2, hold=3), 12),
    "greg2": (nk.methods.greg2(HALF, pick_grow=0.2, pick_at=0.4, grow=0.4, every=2, hold=3), 12),
    "fixreg": (nk.methods.fixreg(HALF, factor=0.5, steps=3, every=2, hold=2), 7),
    "random": (nk.methods.random(HALF, seed=1), 4),
    "masked_then_cut": (masked_then_cut(HALF), 6),
    "imp": (nk.methods.imp(0.5, rounds=2, steps=2, dense=2, rewind=1), 8),
    "spur": (nk.methods.spur(nk.Ratio(0.5, scope="global"), rounds=2, steps=2, dense=1, alpha=0.01), 7),
    "movement": (nk.methods.movement(0.5, steps=3, every=2, dense=1, after=1), 7),
}
"""Methods in a hurry, each with the steps that it needs and some after the cut."""

every_method = pytest.mark.parametrize("name", METHODS)

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "momentum": laws.momentum,
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9, centered=True),
    "two_groups": lambda p: _two_groups(list(p)),
    "fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    "own": lambda p: Averager(p, lr=1e-3),
}
if hasattr(torch.optim, "Adafactor"):
    OPTIMIZERS["adafactor"] = lambda p: torch.optim.Adafactor(p, lr=1e-2)


class Averager(torch.optim.Optimizer):
    """Of no library: two averages in the parameter's shape, and a number and a tensor of one entry beside them."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(fast=torch.zeros_like(p), slow=p.clone(), calls=0, scale=torch.ones(1))
                state["calls"] += 1
                state["fast"].lerp_(p.grad, 0.5)
                p.sub_(state["fast"] * state["scale"], alpha=group["lr"])
                state["slow"].lerp_(p, 0.1)


class Preconditioned(Averager):
    """Keeps a matrix of what units have to do with each other, of a size that a weight may have by chance."""

    def step(self, closure: Any = None) -> None:
        super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["matrix"] = torch.eye(p.shape[0])


def _two_groups(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    flat, deep = ([p for p in parameters if (p.dim() > 1) == many] for many in (False, True))
    groups = [{"params": deep, "weight_decay": 0.1}, {"params": flat, "lr": 0.02}]
    return torch.optim.AdamW(groups, lr=1e-3)


@cache
def graph_of(name: str) -> Graph | None:
    plant = specimen(name)
    try:
        return trace(plant.build(), plant.inputs())
    except NothingToPrune:
        return None


def traced(plant: Specimen) -> Graph:
    """The graph of a specimen, traced once. Nothing to prune is an answer only where nothing was claimed."""
    graph = graph_of(plant.name)
    if graph is None:
        assert not plant.prunable, f"nothing in {plant.name} can be pruned, and it claims {plant.prunable}"
        pytest.skip(f"{plant.name} claims nothing that can be pruned, and nothing is offered")
    return graph


def work(plant: Specimen) -> Make:
    """The specimen in training; skipped as :func:`traced` does."""
    traced(plant)
    return laws.exercise(plant.build, plant.inputs)
