"""What ``niwaki forecast`` does: how fast the networks of a recipe will be, before any training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from niwaki.errors import NiwakiError
from niwaki.forecast import Forecast, profile
from niwaki.forecast.likes import liked
from niwaki.forecast.outlook import Outlook, even, outlook, to_json, usual
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.measure import RUNTIMES
from niwaki.measure.size import batch_size
from niwaki.methods import build
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import model_and_inputs
from niwaki.recipes.limits import choosers
from niwaki.recipes.progress import Advance, Teller
from niwaki.recipes.schema import Measure, Recipe
from niwaki.replacing import made, replacing
from niwaki.scores import L1, Score
from niwaki.surgery.decide import plan as decide
from niwaki.tracing import trace
from niwaki.units import Plan

if TYPE_CHECKING:
    from rich.table import Table

_SMALL = 0.03  # dearer by less than this share: not worth telling


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
    recipe: Recipe, runtimes: tuple[str, ...] = (), threads: int | None = None, teller: Teller | None = None
) -> list[Foresight]:
    """Profile the recipe's model where it will serve, and forecast what its methods would leave.

    Args:
        runtimes: where; those of the recipe's section ``measure`` if none is named. threads: as there.
    """
    teller = teller or Teller()
    with importing_from(recipe.folder):
        model, inputs = model_and_inputs(recipe)
        with teller.wait(f"trace {type(model).__name__}"):
            graph = trace(model, inputs)
        plans, failed = _plans(recipe, graph)
        measure = replace(
            recipe.measure, runtimes=runtimes or recipe.measure.runtimes, threads=threads or recipe.measure.threads
        )
        return [
            Foresight(one, batch_size(inputs), plans, failed) for one in profiles(model, graph, inputs, measure, teller)
        ]


def profiles(model: nn.Module, graph: Graph, inputs: Inputs, measure: Measure, teller: Teller) -> list[Forecast]:
    """The forecast of every runtime in which is measured, told as it goes."""
    found = []
    for runtime in measure.runtimes:
        with _Bars(teller, RUNTIMES.get(runtime, runtime)) as tick:
            found.append(profile(model, inputs, runtime=runtime, threads=measure.threads, graph=graph, tick=tick))
    return found


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
            plans[choice.label] = decide(graph, score if isinstance(score, Score) else L1(), part.target)
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


# -- what is printed -----------------------------------------------------------------------------------


def tables(found: Foresight) -> Iterator[Table | str]:
    """What there is to say of one runtime, for a terminal."""
    forecast = found.forecast
    place = forecast.place.to_json()
    yield (
        f"{RUNTIMES[forecast.place.runtime]} {place['version']}, {place['threads']} thread(s), batch {found.batch}, "
        f"{place['device']}: the dense network takes {forecast.dense_ms:.2f} ms."
    )
    yield _even(forecast)
    yield from _methods(found)
    yield _widths(forecast)


def _even(forecast: Forecast) -> Table:
    multiple = usual(forecast)
    table = _table(
        "removed evenly",
        "multiply-adds left",
        "ms",
        "times as fast",
        f"in multiples of {multiple}: ms",
        "times as fast",
    )
    for plain, rounded in even(forecast):
        table.add_row(
            plain.name, f"{plain.macs:.1%}", f"{plain.ms:.2f}", _speed(plain), f"{rounded.ms:.2f}", _speed(rounded)
        )
    return table


def _methods(found: Foresight) -> Iterator[Table | str]:
    if found.plans:
        table = _table("method of the recipe", "multiply-adds left", "ms", "times as fast")
        for row in found.outlooks:
            table.add_row(row.name, f"{row.macs:.1%}", f"{row.ms:.2f}", _speed(row))
        yield table
    for row in found.outlooks:
        if row.slower:
            yield (
                f"Warning: {row.name} would make the network slower than it is. Round its widths (round_to: "
                f"{usual(found.forecast)}), or aim at latency itself: target: {{latency: 0.5}}."
            )
    for name, why in found.failed.items():
        yield f"{name}: {why}"


def _widths(forecast: Forecast) -> Table | str:
    rows = [x for x in liked(forecast).values() if x.multiple > 1]
    if not rows:
        return "Every width is worth having: none costs more than the next larger one."
    table = _table("group", "units", "worth having", "others cost as much as the next larger one", "in")
    for x in rows:
        more = f"and {x.dearer:.0%} more" if x.dearer > _SMALL else ""
        table.add_row(x.group.name, str(len(x.group)), f"multiples of {x.multiple}", more, x.layer)
    return table


def _speed(row: Outlook) -> str:
    return f"{row.speedup:.2f}{' (slower)' if row.slower else ''}"


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table()
    for k, name in enumerate(columns):
        table.add_column(name, justify="left" if k == 0 else "right")
    return table


__all__ = ["Foresight", "foresee", "profiles", "save", "tables"]
