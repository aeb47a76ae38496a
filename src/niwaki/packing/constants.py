"""Units that give the same number whatever comes in, seen where they are read.

A unit is only asked if some of what makes it is zero. It is steady if, at every position that is read, it has one
value over all inputs, and still has it when all that is left of what makes it is blown up by random numbers of either
sign: so a neuron that merely happened to be silent on these inputs is told from one that cannot speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from niwaki.calibration.takers import Taker, Unfit, layers_that_take
from niwaki.graph import Graph
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating, tensors_of
from niwaki.surgery.certify import answers
from niwaki.units import Group

ROUNDING = 64
"""A value may vary by so many units in its last place: a softmax does not add up to one exactly."""


@dataclass(frozen=True, eq=False)
class Steady:
    """What was seen of one group. ``seen``: bool per unit, a layer that can be watched reads it. ``steady``: it has one
    value where it is read; ``zero``: which is zero. ``values``: per taker (by path) the value at each position of its
    input."""

    takers: tuple[Taker, ...]
    seen: np.ndarray
    steady: np.ndarray
    zero: np.ndarray
    values: Mapping[str, Tensor]


def steady(graph: Graph, model: nn.Module, inputs: Inputs, hollow: Mapping[str, np.ndarray]) -> dict[str, Steady]:
    """Watch the units that ``hollow`` (bool per unit, by group name) names."""
    modules = dict(model.named_modules(remove_duplicate=False))
    takers = {name: _takers(graph[name], modules, graph.aliases) for name in hollow}
    paths = sorted({t.path for found in takers.values() for t in found})
    spans = Spans(paths)
    if paths:
        spans.run(model, inputs)
    suspects = {name: _judge(graph[name], takers[name], spans, hollow[name]) for name in hollow}
    asked = {name: tuple(np.flatnonzero(s.steady).tolist()) for name, s in suspects.items() if s.steady.any()}
    for sign in (1.0, -1.0) if asked else ():
        spans.run(shaken(graph, model, asked, sign), inputs)
    return {name: _judge(graph[name], takers[name], spans, s.steady) for name, s in suspects.items()}


@torch.no_grad()
def shaken(graph: Graph, model: nn.Module, units: Mapping[str, Sequence[int]], sign: float) -> nn.Module:
    """A copy in which all that makes these units, zeros and biases aside, is multiplied by random numbers of 100 to
    10,000 and of random sign (the same ones for both values of ``sign``, which turns them round)."""
    copy = duplicate(model)
    tensors = dict([*copy.named_parameters(), *copy.named_buffers()])
    generator = torch.Generator().manual_seed(0)
    for name, chosen in units.items():
        group = graph[name]
        for m in group.members:
            target = tensors[m.name]
            if m.role == "takes" or (m.role == "follows" and target.dim() == 1):
                continue
            index = torch.from_numpy(group.entries[m.axis].of(np.asarray(chosen)))
            part = target.index_select(m.dim, index.to(target.device))
            size = 100 ** (1 + torch.rand(part.shape, generator=generator))
            signs = torch.randint(2, [n if d == m.dim else 1 for d, n in enumerate(part.shape)], generator=generator)
            factor = (sign * size * (2.0 * signs - 1.0)).to(part)
            target.index_copy_(m.dim, index.to(target.device), part * factor)
    return copy


class Spans:
    """The least and the largest value at each position of some layers' inputs, over all that was run."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self.least: dict[str, Tensor] = {}
        self.most: dict[str, Tensor] = {}
        self.eps = 0.0

    def run(self, model: nn.Module, inputs: Inputs) -> None:
        """One forward pass, watched."""
        args, kwargs = call_arguments(inputs)
        with evaluating(model), torch.no_grad(), self._watching(model):
            answers(model, args, kwargs)

    @contextmanager
    def _watching(self, model: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for path in self._paths:
                hook = model.get_submodule(path).register_forward_pre_hook(self._note(path), with_kwargs=True)
                stack.callback(hook.remove)
            yield

    def _note(self, path: str) -> Any:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            hidden = next(tensors_of((args, kwargs)))
            space = max(0, module.get_parameter("weight").dim() - 2)
            rows = hidden.detach().movedim(-1 - space, -1).flatten(0, -2).double()
            if not len(rows):  # an expert to which no token went
                return
            self.eps = max(self.eps, torch.finfo(hidden.dtype).eps)
            least, most = rows.amin(0).cpu(), rows.amax(0).cpu()
            self.least[path] = torch.minimum(least, self.least.get(path, least))
            self.most[path] = torch.maximum(most, self.most.get(path, most))

        return before


def _takers(group: Group, modules: Mapping[str, nn.Module], aliases: Mapping[str, str]) -> tuple[Taker, ...]:
    try:
        return tuple(layers_that_take(group, modules, aliases))
    except Unfit:
        return ()


def _judge(group: Group, takers: Sequence[Taker], spans: Spans, asked: np.ndarray) -> Steady:
    """Which of the units that are asked about were seen to be steady."""
    seen, moves, speaks = (np.zeros(len(group), bool) for _ in range(3))
    values: dict[str, Tensor] = {}
    for taker in takers:
        of, inside = taker.unit_of.numpy(), (taker.unit_of >= 0).numpy()
        seen[of[inside]] = True
        if taker.path not in spans.least:  # nobody called it: nothing is known of what it would get
            moves[of[inside]] = speaks[of[inside]] = True
            continue
        least, most = spans.least[taker.path], spans.most[taker.path]
        still = (most - least <= ROUNDING * spans.eps * torch.maximum(most.abs(), least.abs())).numpy()
        quiet = ((most == 0) & (least == 0)).numpy()  # neither holds where there is no number
        moves[of[inside & ~still]] = True
        speaks[of[inside & ~quiet]] = True
        values[taker.path] = (most + least) / 2
    return Steady(tuple(takers), seen, asked & seen & ~moves, asked & seen & ~speaks, values)


__all__ = ["Spans", "Steady", "shaken", "steady"]
