"""What ``niwaki forecast`` does: how fast the networks of a recipe will be, before any training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.errors import BadInput, NiwakiError
from niwaki.forecast import Forecast, profile
from niwaki.forecast.outlook import Outlook, outlook, to_json
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.measure import RUNTIMES
from niwaki.measure.runtimes import require
from niwaki.measure.size import batch_size
from niwaki.methods import build
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import model_and_inputs
from niwaki.recipes.limits import choosers
from niwaki.recipes.progress import Advance, Teller
from niwaki.recipes.schema import Measure, Recipe
from niwaki.replacing import made, replacing
from niwaki.scores import L1, Score
from niwaki.surgery.decide import tried
from niwaki.tracing import trace
from niwaki.units import Plan


@dataclass(frozen=True, eq=False)
class Foresight:
    """The forecast of one runtime.

    Attributes:
        plans: by a method's label, what its target would leave of this network with the weights as they are now: by the
            method's score, or by L1 where it looks at data. failed: methods whose target cannot be met, and why.
    """

    forecast: Forecast
    batch: int
    plans: Mapping[str, Plan]
    failed: Mapping[str, str]

    @property
    def outlooks(self) -> list[Outlook]:
        """Of the methods' plans."""
        return [outlook(self.forecast, name, plan) for name, plan in self.plans.items()]

    def to_json(self) -> dict[str, Any]:
        return {"batch": self.batch, **to_json(self.forecast, self.plans), "failed": dict(self.failed)}


def foresee(
    recipe: Recipe,
    runtimes: tuple[str, ...] = (),
    threads: int | None = None,
    teller: Teller | None = None,
    told: Callable[[Foresight], None] = lambda found: None,
) -> list[Foresight]:
    """Profile the recipe's model where it will serve, and forecast what its methods would leave.

    Args:
        runtimes: where; those of the recipe's section ``measure`` if none is named. threads: as there.
        told: is called with each forecast as it comes, while the next runtime is not yet begun.

    Raises:
        BadInput: no runtime is named, here or there.
    """
    teller = teller or Teller()
    if not (runtimes or recipe.measure.runtimes):
        raise BadInput("there is nothing to forecast: measure.runtimes of the recipe is empty; name one with --runtime")
    for runtime in runtimes:
        require(runtime)  # before minutes are spent on another one
    with importing_from(recipe.folder):
        model, inputs = model_and_inputs(recipe)
        with teller.wait(f"trace {type(model).__name__}"):
            graph = trace(model, inputs)
        plans, failed = _plans(recipe, graph)
        measure = replace(
            recipe.measure, runtimes=runtimes or recipe.measure.runtimes, threads=threads or recipe.measure.threads
        )
        found = []
        for one in profiles(model, graph, inputs, measure, teller):
            found.append(Foresight(one, batch_size(inputs), plans, failed))
            told(found[-1])
        return found


def profiles(model: nn.Module, graph: Graph, inputs: Inputs, measure: Measure, teller: Teller) -> Iterator[Forecast]:
    """The forecast of every runtime in which is measured, told as it goes."""
    for runtime in measure.runtimes:
        with _Bars(teller, RUNTIMES.get(runtime, runtime)) as tick:
            found = profile(model, inputs, runtime=runtime, threads=measure.threads, graph=graph, tick=tick)
        yield found


def save(found: list[Foresight], path: Path) -> Path:
    """Write everything as JSON."""
    made(path.parent)
    with replacing(path) as part:
        part.write_text(json.dumps([f.to_json() for f in found], indent=2) + "\n", encoding="utf-8")
    return path


def _plans(recipe: Recipe, graph: Graph) -> tuple[dict[str, Plan], dict[str, str]]:
    plans: dict[str, Plan] = {}
    failed: dict[str, str] = {}
    for choice in recipe.methods:
        parts = choosers(build(choice.name, choice.settings))
        if not parts:  # what leaves zeros saves no time by itself
            continue
        part = parts[-1]  # the one that chooses in the end
        score = getattr(part, "score", None)
        try:
            plans[choice.label] = tried(graph, score if isinstance(score, Score) else L1(), part.target)
        except NiwakiError as trouble:
            failed[choice.label] = str(trouble)
    return plans, failed


class _Bars:
    """Progress of a profile: a bar for each of its stages."""

    def __init__(self, teller: Teller, title: str) -> None:
        self.teller, self.title = teller, title
        self._stage, self._done = "", 0
        self._open = ExitStack()
        self._advance: Advance = lambda note: None

    def __enter__(self) -> Any:
        return self._tick

    def __exit__(self, *trouble: object) -> None:
        self._open.close()

    def _tick(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self._open.close()
            self._advance = self._open.enter_context(self.teller.stage(f"{self.title}: {stage}", total))
            self._stage, self._done = stage, 0
        for _ in range(done - self._done):
            self._advance("")
        self._done = done


__all__ = ["Foresight", "foresee", "profiles", "save"]
