"""Units that give the same number whatever comes in, seen where they are read.

A unit is only asked if some of what makes it is zero. It is steady if, at every position that is read, it has one
value over all inputs, and still has it when all that is left of what makes it is blown up by random numbers of either
sign: so a neuron that merely happened to be silent on these inputs is told from one that cannot speak. And all that is
left of what makes it must have been heard (:mod:`niwaki.packing.heard`): a layer that was given zeros tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from niwaki.calibration.takers import Taker, Unfit, layers_that_take
from niwaki.graph import Graph
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating, tensors_of
from niwaki.packing.heard import Voice, unheard_of, voices_of
from niwaki.surgery.certify import answers
from niwaki.units import Group

ROUNDING = 64
"""A value may vary by so many units in its last place: a softmax does not add up to one exactly."""


@dataclass(frozen=True, eq=False)
class Steady:
    """What was seen of one group. ``seen``: bool per unit, a layer that can be watched reads it. ``steady``: it has one
    value where it is read; ``zero``: which is zero. ``unheard``: something that makes it was given nothing to tell.
    ``values``: per taker (by path) the value at each position of its input."""

    takers: tuple[Taker, ...]
    seen: np.ndarray
    steady: np.ndarray
    zero: np.ndarray
    unheard: np.ndarray
    values: Mapping[str, Tensor]


def steady(
    graph: Graph,
    model: nn.Module,
    inputs: Inputs,
    hollow: Mapping[str, np.ndarray],
    mute: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Steady]:
    """Watch the units that ``hollow`` (bool per unit, by group name) names. ``mute``: those among them that will be
    taken for silent where no layer reads them; what makes them must be heard as well."""
    modules = dict(model.named_modules(remove_duplicate=False))
    tensors = dict(graph.tensors())
    takers = {name: _takers(graph[name], modules, graph.aliases) for name in hollow}
    voices = {name: voices_of(graph[name], modules, graph.aliases, tensors) for name in hollow}
    spans = Spans(
        sorted({t.path for found in takers.values() for t in found}),
        sorted({path for found in voices.values() for v in found for path in v.paths}),
    )
    if hollow:
        spans.run(model, inputs)

    def judge(name: str, asked: np.ndarray) -> Steady:
        return _judge(graph[name], takers[name], voices[name], spans, asked)

    suspects = {name: judge(name, asked) for name, asked in hollow.items()}
    doubted = {name: s.steady | (mute or {}).get(name, s.steady) & ~s.seen for name, s in suspects.items()}
    asked = {name: tuple(np.flatnonzero(found).tolist()) for name, found in doubted.items() if found.any()}
    for sign in (1.0, -1.0) if asked else ():
        spans.run(shaken(graph, model, asked, sign), inputs)
    found = {name: judge(name, s.steady) for name, s in suspects.items()}
    return {name: replace(s, steady=s.steady & ~s.unheard, zero=s.zero & ~s.unheard) for name, s in found.items()}


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
    """What was seen at each position of some layers' inputs (``taken``), and of others' outputs (``made``), over all
    that was run."""

    def __init__(self, takers: Sequence[str], makers: Sequence[str] = ()) -> None:
        self._takers, self._makers = takers, makers
        self.taken, self.made = Span(), Span()

    def run(self, model: nn.Module, inputs: Inputs) -> None:
        """One forward pass, watched."""
        args, kwargs = call_arguments(inputs)
        with evaluating(model), torch.no_grad(), self._watching(model):
            answers(model, args, kwargs)

    @contextmanager
    def _watching(self, model: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for path in self._takers:
                hook = model.get_submodule(path).register_forward_pre_hook(self._note(path), with_kwargs=True)
                stack.callback(hook.remove)
            for path in self._makers:
                stack.callback(model.get_submodule(path).register_forward_hook(self._note_made(path)).remove)
            yield

    def _note(self, path: str) -> Any:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.taken.note(path, module, next(tensors_of((args, kwargs))))

        return before

    def _note_made(self, path: str) -> Any:
        def after(module: nn.Module, args: Any, out: Any) -> None:
            self.made.note(path, module, next(tensors_of(out)))

        return after


class Span:
    """The least and the largest value at each position, by the path of a layer."""

    def __init__(self) -> None:
        self.least: dict[str, Tensor] = {}
        self.most: dict[str, Tensor] = {}
        self._eps = 0.0

    def note(self, path: str, module: nn.Module, values: Tensor) -> None:
        """Look at what a layer was given, or gave."""
        weight: Any = module.weight  # may be computed, and no parameter
        space = max(0, weight.dim() - 2)
        rows = values.detach().movedim(-1 - space, -1).flatten(0, -2).double()
        if not len(rows):  # an expert to which no token went
            return
        self._eps = max(self._eps, torch.finfo(values.dtype).eps)
        least, most = rows.amin(0).cpu(), rows.amax(0).cpu()
        self.least[path] = torch.minimum(least, self.least.get(path, least))
        self.most[path] = torch.maximum(most, self.most.get(path, most))

    def still(self, path: str) -> np.ndarray:
        """Bool per position: one value, to rounding."""
        least, most = self.least[path], self.most[path]
        found: np.ndarray = (most - least <= ROUNDING * self._eps * torch.maximum(most.abs(), least.abs())).numpy()
        return found

    def quiet(self, path: str) -> np.ndarray:
        """Bool per position: zero, always."""
        found: np.ndarray = ((self.most[path] == 0) & (self.least[path] == 0)).numpy()
        return found


def _takers(group: Group, modules: Mapping[str, nn.Module], aliases: Mapping[str, str]) -> tuple[Taker, ...]:
    try:
        return tuple(layers_that_take(group, modules, aliases))
    except Unfit:
        return ()


def _judge(group: Group, takers: Sequence[Taker], voices: Sequence[Voice], spans: Spans, asked: np.ndarray) -> Steady:
    """Which of the units that are asked about were seen to be steady."""
    seen, moves, speaks = (np.zeros(len(group), bool) for _ in range(3))
    values: dict[str, Tensor] = {}
    for taker in takers:
        of, inside = taker.unit_of.numpy(), (taker.unit_of >= 0).numpy()
        seen[of[inside]] = True
        if taker.path not in spans.taken.least:  # nobody called it: nothing is known of what it would get
            moves[of[inside]] = speaks[of[inside]] = True
            continue
        # Neither holds where there is no number.
        moves[of[inside & ~spans.taken.still(taker.path)]] = True
        speaks[of[inside & ~spans.taken.quiet(taker.path)]] = True
        values[taker.path] = (spans.taken.most[taker.path] + spans.taken.least[taker.path]) / 2
    still = {path: spans.made.still(path) for path in spans.made.least}
    unheard = unheard_of(voices, still, len(group))
    return Steady(tuple(takers), seen, asked & seen & ~moves, asked & seen & ~speaks, unheard, values)


__all__ = ["Span", "Spans", "Steady", "shaken", "steady"]
