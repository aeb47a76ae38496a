"""The dense network of a sweep: built once, kept as a file, and what every trial begins with, whatever its seed.

Without this, a recipe whose function trains the network, or draws its weights, would give each seed another one, and
the spread over seeds would be that of dense networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.artefact.manifest import digest as of_file
from niwaki.errors import BadInput
from niwaki.methods import build
from niwaki.recipes import Recipe
from niwaki.recipes.borrowed import find, importing_from, require_fit
from niwaki.recipes.checks import plain
from niwaki.recipes.ingredients import beside, fill, look_up, model_and_inputs
from niwaki.recipes.progress import Teller
from niwaki.recipes.standing import fingerprint
from niwaki.replacing import replacing
from niwaki.report.fairness import Start
from niwaki.sweeps.grid import Trial, seedless
from niwaki.sweeps.ledger import read_json, write_json
from niwaki.sweeps.names import digest
from niwaki.sweeps.schema import Sweep, changed
from niwaki.tracing import trace
from niwaki.train.rehearsal import rehearse


@dataclass(frozen=True, eq=False)
class Base:
    """A dense network: the recipe by which it is made, the one by which it is built again when its weights are in
    ``file``, and a note beside it. ``frozen``: the sweep makes that file."""

    making: Recipe
    recipe: Recipe
    file: Path
    note: Path
    frozen: bool

    def build(self) -> tuple[nn.Module, Any]:
        """The network with its weights, and its inputs."""
        if self.frozen and not self.file.is_file():
            made, inputs = model_and_inputs(self.making)
            _freeze(made, self.file)
            return made, inputs
        made, inputs = model_and_inputs(replace(self.recipe, weights=None))
        fill(made, self.file)
        return made, inputs

    @property
    def weights(self) -> str:
        """The fingerprint, once it was prepared."""
        found = read_json(self.note)
        assert found is not None
        return str(found["weights"])


def look_up_all(sweep: Sweep, trials: Sequence[Trial]) -> None:
    """See that all trials find what they name, without a network.

    Raises:
        BadInput: one does not; the message names the trial.
    """
    with importing_from(sweep.folder):
        for trial in trials:
            try:
                recipe = Recipe.read(trial.data, sweep.folder)
                look_up(recipe)
            except BadInput as trouble:
                raise BadInput(f"trial {trial.name}: {trouble}") from trouble
            _require_another_judge(sweep, recipe)
        if sweep.choose_by is not None:
            require_fit("choose_args", find("choose_by", sweep.choose_by), sweep.choose_args)


def _require_another_judge(sweep: Sweep, recipe: Recipe) -> None:
    asked, reported = [sweep.choose_by, sweep.choose_args], [recipe.evaluate, recipe.evaluate_args]
    if plain(asked) == plain(reported):
        raise BadInput(
            f"choose_by: {sweep.choose_by} with these choose_args is what evaluate reports in the table, so that each "
            "setting would be chosen by its own figure. Let it judge by other data, or leave choose_by out"
        )


def starts(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Start]:
    """How each trial begins, from its recipe alone: of a file of weights its content counts, not its name."""
    hashes, found = _Hashes(), {}
    for trial in trials:
        recipe = Recipe.read(trial.data, sweep.folder)
        weights = None if recipe.weights is None else hashes[beside(recipe, recipe.weights)]
        found[trial.name] = Start(plain(recipe.to_json()), weights)
    return found


def bases(sweep: Sweep, trials: Sequence[Trial], out: Path) -> dict[str, Base]:
    """The base of each trial, by the trial's name; one for all, unless a mixture was asked for."""
    made: dict[str, Base] = {}
    hashes, found = _Hashes(), {}
    for trial in trials:
        plainly = seedless(sweep, trial)
        making, recipe = (Recipe.read(data, sweep.folder) for data in (changed(plainly, sweep.dense, "dense"), plainly))
        file = None if making.weights is None else beside(making, making.weights).resolve()
        told = [making.model, plain(making.model_args), None if file is None else hashes[file], making.seed]
        key = digest(told, 8)
        # One file, and as many dense networks to measure and time as there are inputs.
        place = f"{key}-{digest(plain(recipe.inputs), 8)}" if "measuring" in sweep.mixing else key
        if place not in made:
            frozen = (out / f"dense-{key}.safetensors").resolve()
            made[place] = Base(making, recipe, file or frozen, out / f"dense-{place}.json", file is None)
        found[trial.name] = made[place]
    return found


def prepare(bases: Mapping[str, Base], trials: Sequence[Trial], teller: Teller) -> None:
    """Build each dense network, keep its weights, and see that every method can be carried out on it: before the first
    trial starts. What was prepared before is not made again.

    Raises:
        NiwakiError: a trial asks for what its network cannot give; the message names it.
    """
    for base in dict.fromkeys(bases.values()):
        own = [trial for trial in trials if bases[trial.name] is base]
        found = read_json(base.note) or {}
        known = set(found.get("rehearsed", ()))
        fresh = [trial for trial in own if _choice(trial) not in known]
        if fresh or not base.file.is_file():
            with importing_from(base.recipe.folder):
                weights = _prepare(base, fresh, teller)
            write_json(base.note, {"weights": weights, "rehearsed": sorted(known | set(map(_choice, fresh)))})


def _prepare(base: Base, fresh: Sequence[Trial], teller: Teller) -> str:
    with teller.wait(f"build the dense network: {base.recipe.model}"):
        made, inputs = base.build()
    with teller.wait(f"see that {len({_choice(trial) for trial in fresh})} methods can be carried out on it"):
        graph, seen = trace(made, inputs), set()
        for trial in fresh:
            if _choice(trial) not in seen:
                seen.add(_choice(trial))
                _rehearse(trial, graph)
    return fingerprint(made)


def _rehearse(trial: Trial, graph: Any) -> None:
    (choice,) = Recipe.read(trial.data).methods
    try:
        rehearse(build(choice.name, choice.settings), graph)
    except ValueError as trouble:
        raise BadInput(f"trial {trial.name}: {trouble}") from trouble


def _choice(trial: Trial) -> str:
    return digest(plain(trial.data["method"]), 16)


def _freeze(model: nn.Module, file: Path) -> None:
    """Keep the weights; tensors that share memory are kept once."""
    from safetensors.torch import save_model

    with replacing(file) as part:
        save_model(model, str(part))


class _Hashes(dict[Path, str]):
    """The SHA-256 of files, each read once."""

    def __missing__(self, path: Path) -> str:
        return self.setdefault(path, of_file(path))


__all__ = ["Base", "bases", "look_up_all", "prepare", "starts"]
