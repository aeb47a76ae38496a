"""What the engine lets a method see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from niwaki.graph import Graph
from niwaki.methods.view import Activity, Chosen, Of, Place, Sampling
from niwaki.ranks import Ranks
from niwaki.scores import Score
from niwaki.surgery.decide import select, within
from niwaki.surgery.singles import offered, select_each, single_weights, worth_each
from niwaki.targets import Target
from niwaki.train.looks import Looks

Record = Callable[[dict[str, Any]], None]


class EngineView:
    """The model of a run, as a method sees it (:class:`niwaki.methods.view.View`)."""

    def __init__(
        self,
        model: nn.Module,
        graph: Graph | None,
        record: Record | None,
        record_every: int,
        looks: Looks | None = None,
        gone: Mapping[str, Tensor] | None = None,
        moved: Mapping[str, Tensor] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks.alone()
        self.model, self.graph, self.steps, self.looks = model, graph, 0, looks
        self._gone, self._moved = gone, moved  # both change as the run goes on
        self.chosen: Chosen = {}
        self.pressure: dict[str, float] = {}
        self.kept_pressure: dict[str, float] = {}
        self._record, self._every = record, record_every
        # Figures are computed on all ranks together, though one alone may write them down.
        self._recorded = "True" in self.ranks.texts(str(record is not None))
        self.asked = 0  # how often a part asked whether to record

    @property
    def recording(self) -> bool:
        self.asked += 1
        return self._recorded and (self.asked - 1) % self._every == 0

    def worth(self, score: Score, of: Of = "units") -> dict[str, Tensor]:
        if of == "weights":
            return worth_each(score, single_weights(self.model), self._moved)
        tensors = dict(self.known.tensors())
        return {g.name: score(g, tensors) for g in self.known.groups}

    def offered(self, target: Target, of: Of = "units") -> list[str]:
        if of == "weights":
            return offered(single_weights(self.model), target)
        return [g.name for g in target.offers(self.known.groups)]

    def stacks(self, names: Iterable[str]) -> list[str]:
        inputs = single_weights(self.model).inputs
        return [name for name in names if inputs[name].stacked]

    def select(self, worth: Mapping[str, Tensor], target: Target, of: Of = "units", *, as_is: bool = False) -> Chosen:
        with self.ranks.every("a choice"):
            return self._selected(worth, target, of, as_is)

    def _selected(self, worth: Mapping[str, Tensor], target: Target, of: Of, as_is: bool) -> Chosen:
        if of == "weights":
            return select_each(worth, target, self._gone)
        if len(worth) < len(self.known.groups):  # the target's patterns may name groups that are not up for choice
            target = within(target, [g.name for g in target.offers(self.known.groups) if g.name in worth])
        return select(self.known, worth, target, as_is=as_is)

    def places(self, target: Target, sampling: Sampling, *, outputs: bool = False) -> list[Place]:
        return self._looks.places(self.known, target, sampling, outputs=outputs)

    def activity(self, name: str, sampling: Sampling, *, moments: bool = False) -> Activity:
        return self._looks.activity(self.known, name, sampling, moments=moments, steps=self.steps)

    def look_anew(self) -> None:
        if self.looks is not None:
            self.looks.changed()

    def sensitivity(self, target: Target, sampling: Sampling, *, each: bool) -> Mapping[str, Tensor]:
        return self._looks.sensitivity(self.known, target, sampling, each=each)

    def note(self, **figures: Any) -> None:
        if self._record is not None:
            self._record({"step": self.steps, **figures})

    @property
    def _looks(self) -> Looks:
        assert self.looks is not None
        return self.looks

    @property
    def known(self) -> Graph:
        assert self.graph is not None
        return self.graph
