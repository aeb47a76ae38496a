"""How fast a plan's network will be, before any training: layers timed alone, and a few whole networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from niwaki.errors import BadInput
from niwaki.forecast import shelf as shelves
from niwaki.forecast.hardware import Place
from niwaki.forecast.layers import Layers
from niwaki.forecast.model import Coefficients, Load, fit
from niwaki.forecast.shapes import Shape, Surface
from niwaki.forecast.shelf import Shelf
from niwaki.forecast.timing import Tick, time_shapes
from niwaki.graph import Graph
from niwaki.graph.caches import forgetting
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs
from niwaki.measure import latency
from niwaki.measure.runtimes import ready, require
from niwaki.scores import L1
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import tried
from niwaki.targets import Ratio
from niwaki.tracing import trace
from niwaki.units import Plan, Selection
from niwaki.wrappers import unwrapped

ANCHORS = ((0.5, 16), (0.75, 16), (0.3, 1), (0.45, 1))
"""What is removed, evenly, from the networks that are timed whole beside the dense one: shares, and the multiples that
widths are rounded to. The last two have such widths as nobody would choose."""
_RUNS, _SECONDS = 15, 30.0
"""They are timed so often, or as often as that takes."""


@dataclass(frozen=True)
class Anchor:
    """A network that was timed whole. ``load``: what it has to do. ``ms``: median of one interleaved run."""

    name: str
    load: Load
    ms: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a network costs in one place. Made by :func:`profile`.

    ``anchors``: the networks that were timed whole, the dense one first. ``surfaces``: for each shape of layer, its
    times at all widths. ``coefficients``: what makes of both the time of a network. ``inputs``: what
    networks were called with.
    """

    graph: Graph
    place: Place
    layers: Layers
    surfaces: Mapping[Shape, Surface]
    anchors: tuple[Anchor, ...]
    coefficients: Coefficients
    inputs: Inputs = ()

    @property
    def dense_ms(self) -> float:
        """As measured."""
        return self.anchors[0].ms

    def ms(self, what: Plan | Selection) -> float:
        """Milliseconds of the network that a plan, or a selection of units by group, leaves.

        Scaled so that the dense network gets what was measured of it.
        """
        return self.scale * self.coefficients.ms(self.load(what))

    @property
    def scale(self) -> float:
        """What makes the dense network's forecast the time that was measured of it."""
        return self.dense_ms / self.coefficients.ms(self.anchors[0].load)

    def speedup(self, what: Plan | Selection) -> float:
        """How many times as fast as the dense network. Below 1: the plan would make it slower."""
        return self.dense_ms / self.ms(what)

    def load(self, what: Plan | Selection) -> Load:
        """What is left to do."""
        return load(self.layers, self.surfaces, self._kept(what))

    def with_anchor(self, name: str, what: Plan | Selection, ms: float) -> Forecast:
        """The same, knowing one network more."""
        anchors = (*self.anchors, Anchor(name, self.load(what), ms))
        found = fit([a.load for a in anchors], [a.ms for a in anchors])
        return replace(self, anchors=anchors, coefficients=found)

    def _kept(self, what: Plan | Selection) -> np.ndarray:
        if isinstance(what, Plan):
            what.check({n: s for n, s in self.graph.shapes.items() if n not in self.graph.aliases})
            return ~self.graph.atoms_gone(what.removed)
        for name in what:
            self.graph[name]
        return ~self.graph.removed_atoms(what)


def load(layers: Layers, surfaces: Mapping[Shape, Surface], kept: np.ndarray) -> Load:
    """What a network has to do when ``kept`` (bool per atom) says what stays."""
    spent = [surfaces[shape].at(task) for shape, task in layers.tasks(kept)]
    return Load(sum(smooth for smooth, _ in spent), sum(odd for _, odd in spent), layers.volume(kept))


def profile(
    model: nn.Module,
    inputs: Inputs,
    *,
    runtime: str = "pytorch",
    threads: int = 1,
    graph: Graph | None = None,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    cache: Path | str | None = "default",
    runs: int = _RUNS,
    tick: Tick | None = None,
) -> Forecast:
    """Time the layers of ``model`` alone, at a ladder of widths, and five networks whole: the dense one, and those
    that ``ANCHORS`` names. Minutes, before any training.

    Args:
        inputs: as the model will be served: batch size and lengths are those of the forecast.
        runtime, threads: as for :func:`niwaki.measure.latency`.
        graph: of this model and these inputs, if it is there already.
        only, skip: patterns of group names, as targets have them: what is to be pruned.
        cache: a folder in which times of layers are kept, by hardware, runtime and shape; None keeps none. Without it,
            ``NIWAKI_CACHE`` or the user's folder for such files.
        runs: timed calls of each whole network. tick: told how far it is.

    Raises:
        BadInput: no such runtime, or it cannot take the model. MissingExtra: it is not installed.
    """
    require(runtime)
    only, skip = ((x,) if isinstance(x, str) else tuple(x) for x in (only, skip))
    place = Place.of(model, runtime, threads)
    graph = graph or trace(model, inputs)
    shelf = Shelf(place, shelves.folder() if cache == "default" else None if cache is None else Path(cache))
    layers = Layers(graph)
    if not layers.layers:
        raise BadInput("no layer of this model can be timed alone: a forecast needs linear layers or convolutions")
    _rehearse(model, inputs, place)
    times = time_shapes(layers.shapes, place, shelf, tick)
    surfaces = {shape: Surface(shape, times) for shape in layers.shapes}
    plans = {"dense": None} | {
        f"{share:.0%} removed": _evenly(graph, share, multiple, only, skip) for share, multiple in ANCHORS
    }
    measured = _whole(model, inputs, place, plans, runs, tick)
    anchors = []
    for name, plan in plans.items():
        gone = graph.removed_atoms({}) if plan is None else graph.atoms_gone(plan.removed)
        anchors.append(Anchor(name, load(layers, surfaces, ~gone), measured[name]))
    found = fit([a.load for a in anchors], [a.ms for a in anchors])
    return Forecast(graph, place, layers, surfaces, tuple(anchors), found, inputs)


def _rehearse(model: nn.Module, inputs: Inputs, place: Place) -> None:
    """See that the dense network can be exported: before its layers are timed, not after."""
    if place.runtime not in ("pytorch", "compile"):
        with forgetting():
            ready(duplicate(unwrapped(model, "what is timed")), inputs, place.runtime, threads=place.threads)


def _evenly(graph: Graph, share: float, multiple: int, only: Iterable[str], skip: Iterable[str]) -> Plan:
    return tried(graph, L1(), Ratio(share, only=tuple(only), skip=tuple(skip), round_to=multiple))


def _whole(
    model: nn.Module, inputs: Inputs, place: Place, plans: Mapping[str, Plan | None], runs: int, tick: Tick | None
) -> dict[str, float]:
    if tick is not None:
        tick("whole networks", 0, 1)
    dense = duplicate(unwrapped(model, "what is timed"))  # what a model keeps of such a call is not for the user's
    models = {name: dense if plan is None else cut(model, plan, config=False) for name, plan in plans.items()}
    with forgetting():
        found = latency(models, inputs, runtime=place.runtime, threads=place.threads, runs=runs, seconds=_SECONDS)
    if tick is not None:
        tick("whole networks", 1, 1)
    return {name: timing.median_ms for name, timing in found.items()}


__all__ = ["ANCHORS", "Anchor", "Forecast", "load", "profile"]
