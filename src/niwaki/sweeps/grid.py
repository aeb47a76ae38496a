"""From a sweep to its trials: every combination once, in an order and under names that depend on the values alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes import Recipe
from niwaki.recipes.checks import plain
from niwaki.report.fairness import Mixture, Start, mixtures
from niwaki.sweeps.names import digest, name_of
from niwaki.sweeps.schema import Contestant, Sweep, changed


@dataclass(frozen=True)
class Trial:
    """One run of the recipe: a method, its target, values of its own grid and of the recipe's keys, and a seed.

    ``data``: the recipe in plain data, complete but for the dense weights and the folder for its results.
    """

    name: str
    method: str
    target: Any
    own: Mapping[str, Any]
    over: Mapping[str, Any]
    seed: int
    data: Mapping[str, Any] = field(repr=False)

    @property
    def values(self) -> dict[str, Any]:
        """What tells it from other trials, as JSON has it."""
        told = {"method": self.method, "target": self.target, "own": dict(self.own), "over": dict(self.over)}
        return plain({**told, "seed": self.seed})

    @property
    def digest(self) -> str:
        """Of all that its result depends on, but for the dense weights."""
        return digest(plain({key: value for key, value in self.data.items() if key not in ("out", "measure")}))


def expand(sweep: Sweep) -> tuple[Trial, ...]:
    """All trials, method by method, each target, then its own grid, then the recipe's keys, then the seeds.

    Each trial's recipe has been read and checked as far as it can be without its network.

    Raises:
        BadInput: a recipe says what cannot be, two trials are the same, or they cannot stand in one table.
    """
    trials = tuple(trial for method in sweep.methods for trial in _of(method, sweep))
    _require_different(trials)
    if sweep.recipe.get("pack") and not any(trial.data.get("pack") for trial in trials):
        raise BadInput("pack is for methods that leave zeros, such as imp or spur, and all of these cut. Leave it out.")
    return trials


def _of(method: Contestant, sweep: Sweep) -> Iterator[Trial]:
    grids = (method.targets, list(_product(method.over)), list(_product(sweep.over)), sweep.seeds)
    for target, own, over, seed in itertools.product(*grids):
        name = name_of(method.label, target, own, over, seed)
        choice = {"name": method.name, "label": method.label, **method.settings, **own, "target": target}
        try:
            data = _alone(changed({**sweep.recipe, "method": choice, "seed": seed, "out": "."}, over, "over"))
        except BadInput as trouble:
            raise BadInput(f"trial {name}: {trouble}") from trouble
        yield Trial(name, method.label, target, own, over, seed, data)


def _alone(given: dict[str, Any]) -> dict[str, Any]:
    """The recipe of one trial, checked. It is not timed: what runs beside other trials cannot be. (All networks are, at
    the end; for that their ONNX files are needed, if its runtime is to time them.)"""
    recipe = Recipe.read(given)
    if recipe.pack and not _leaves_zeros(recipe):
        given = {key: value for key, value in given.items() if key != "pack"}  # a method that cuts has nothing to pack
    onnx = recipe.wants_onnx or _aims_at_onnx(recipe)
    exports = [*recipe.export, *(["onnx"] if onnx and "onnx" not in recipe.export else [])]
    quiet = {**recipe.measure.to_json(), "runs": 0, "forecast": False}
    return {k: v for k, v in {**given, "measure": quiet, "export": exports}.items() if k != "fast"}


def _aims_at_onnx(recipe: Recipe) -> bool:
    """Has the method of a trial a target of latency in ONNX Runtime, where it is timed then without being asked?"""
    target = recipe.methods[0].settings.get("target")
    aims = isinstance(target, Mapping) and "latency" in target and target.get("runtime") == "onnxruntime"
    return aims and recipe.measure.runs > 0


def _leaves_zeros(recipe: Recipe) -> bool:
    """Does the method of a trial leave zeros to pack?"""
    from niwaki.methods import build  # these load torch, and what waits for a trial must be small
    from niwaki.recipes.zeros import leaves_zeros

    return leaves_zeros(build(recipe.methods[0].name, recipe.methods[0].settings))


def seedless(sweep: Sweep, trial: Trial) -> dict[str, Any]:
    """A trial's recipe, in plain data, with the recipe's own seed and timing: the same for all seeds of the sweep."""
    return {**trial.data, **{key: sweep.recipe.get(key) for key in ("seed", "measure")}}


def broken(sweep: Sweep, starts: Mapping[str, Start]) -> list[Mixture]:
    """The rules of a fair comparison that are broken though nobody asked for it."""
    return [found for found in mixtures(starts) if found.rule not in sweep.mixing]


def require_fair(sweep: Sweep, starts: Mapping[str, Start]) -> None:
    """Refuse what cannot stand in one table.

    Raises:
        BadInput: two trials differ in what a fair comparison wants to be equal, and ``mixing`` does not ask for it.
    """
    found = broken(sweep, starts)
    if found:
        said = "; ".join(map(str, found))
        asks = ", ".join(f"{one.rule}: 'why'" for one in found)
        raise BadInput(
            f"these trials cannot stand in one table: {said}. Give each of these values a sweep of its own; or, if "
            f"they are mixed on purpose, say why, and the table will tell it: mixing: {{{asks}}}"
        )


def _product(grid: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _require_different(trials: tuple[Trial, ...]) -> None:
    seen: dict[str, Trial] = {}
    for trial in trials:
        other = seen.setdefault(trial.name.lower(), trial)
        if other is not trial:
            raise BadInput(f"two trials are called {trial.name}: {other.values} and {trial.values}; leave one out")


__all__ = ["Trial", "broken", "expand", "require_fair", "seedless"]
