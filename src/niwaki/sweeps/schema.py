"""What a sweep may say: frozen values, checked when they are read, before anything is run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes import checks
from niwaki.recipes.fast import Change, quickened
from niwaki.recipes.reading import override, put, read_yaml
from niwaki.report.fairness import RULES

KEYS = (
    "recipe", "set", "dense", "methods", "targets", "over", "seeds", "mixing", "choose_by", "choose_args", "fast",
    "out", "workers", "threads", "ray",
)  # fmt: skip
REQUIRED = ("recipe", "out")
_OWN = ("method", "seed", "out", "measure", "fast")
"""Keys of a recipe that a sweep sets by itself, or that say nothing of a single trial."""
_DOTTED = ("set", "dense", "over", "recipe.fast")
"""Sections whose keys are paths into the recipe."""


@dataclass(frozen=True)
class Contestant:
    """A method of the sweep: its settings, its targets, and its own grid (``over``), of which the best is chosen."""

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Any, ...] = ()
    over: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @staticmethod
    def read(where: str, data: Any, targets: tuple[Any, ...]) -> Contestant:
        found = {"name": data} if isinstance(data, str) else checks.table(where, data)
        if "name" not in found:
            raise BadInput(f"{where} lacks 'name', for instance {{name: greg1, over: {{grow: [1e-3, 1e-2]}}}}")
        name = checks.text(f"{where}.name", found.pop("name"))
        label = checks.text(f"{where}.label", found.pop("label", name))
        over = read_grid(f"{where}.over", found.pop("over", None) or {})
        wrong = [key for key in over if key in ("name", "label", "target", "targets")]
        if wrong:
            raise BadInput(
                f"{where}.over: {wrong[0]!r} is no setting of a method. Each method stands by itself in methods, "
                "and its targets beside its name: {name: greg1, targets: [{macs: 0.5}]}"
            )
        twice = [key for key in over if key in found]
        if twice:
            raise BadInput(f"{where}.over: {twice[0]!r} is set beside it, too; say it in one place")
        if "target" in found and "targets" in found:
            raise BadInput(f"{where} has both 'target' and 'targets'; leave one out")
        own = [found.pop("target")] if "target" in found else _targets(f"{where}.targets", found.pop("targets", None))
        if not own and not targets:
            raise BadInput(f"{where} has no target; give the sweep targets, for instance targets: [{{macs: 0.5}}]")
        return Contestant(name, label, found, tuple(own) or targets, over)


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs the trials, and what each of them takes of a machine. ``retries``: how often a trial whose machine
    or worker died is begun again elsewhere; it goes on from its checkpoint."""

    address: str
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3

    @staticmethod
    def read(data: Any, threads: int) -> Cluster:
        found = checks.mapping(
            "ray", {"address": data} if isinstance(data, str) else data, ("address", "cpus", "gpus", "retries"),
            ("address",),
        )  # fmt: skip
        return Cluster(
            checks.text("ray.address", found["address"]),
            _amount("ray.cpus", found.get("cpus", threads)),
            _amount("ray.gpus", found.get("gpus", 0)),
            checks.whole("ray.retries", found.get("retries", 3), 0),
        )


@dataclass(frozen=True)
class Sweep:
    """Methods × targets × their own grids × changes of the recipe × seeds, all from one dense network.

    Attributes:
        recipe: plain data of the recipe that every trial changes. folder: modules and files are looked for there first.
        dense: changes of the recipe under which the dense network is built, once.
        over: dotted keys of the recipe, and the values that each takes.
        mixing: rules of a fair comparison that are broken on purpose, and why.
        choose_by: ``module:function`` that judges networks when a method's settings are chosen, so that they are not
            chosen by the figures that are reported.
        workers: trials at a time; None: one on each GPU, or as many as the cores allow at so many ``threads`` each.
        shortened: what the section ``fast`` of the recipe has changed.
    """

    recipe: Mapping[str, Any]
    out: str
    methods: tuple[Contestant, ...]
    seeds: tuple[int, ...] = (0,)
    over: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    dense: Mapping[str, Any] = field(default_factory=dict)
    mixing: Mapping[str, str] = field(default_factory=dict)
    choose_by: str | None = None
    choose_args: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    threads: int = 1
    cluster: Cluster | None = None
    folder: Path = field(default=Path("."), compare=False)
    shortened: tuple[Change, ...] = field(default=(), compare=False)

    @staticmethod
    def load(path: str | os.PathLike[str], overrides: Sequence[str] = (), fast: bool = False) -> Sweep:
        """Read a sweep file, with overrides such as ``"seeds=5"``; ``fast``: of the recipe, as for ``niwaki prune``.

        Raises:
            BadInput: the file or a key is missing, unknown or says what cannot be; the message names the place.
        """
        path = Path(path)
        data = read_yaml(path, "sweep")
        if isinstance(data, dict) and "model" in data and "recipe" not in data:
            raise BadInput(f"{path} is a recipe: niwaki prune {path}; a sweep names one, as recipe: {path.name}")
        data = override(data, overrides, _DOTTED)
        return Sweep.read(data, path.parent.resolve(), fast)

    @staticmethod
    def read(data: Any, folder: Path = Path("."), fast: bool = False) -> Sweep:
        """The sweep in plain data; a recipe file that it names is looked for in ``folder``."""
        found = checks.mapping("the sweep", data, KEYS, REQUIRED)
        found = {key: value for key, value in found.items() if value is not None}
        recipe, beside = _recipe(found["recipe"], folder)
        fast = checks.flag("fast", found.get("fast", False)) or fast
        recipe, shortened = _shorter(recipe, "methods" in found) if fast else (recipe, ())
        recipe = changed(recipe, _changes("set", found.get("set", {})), "set")
        threads = checks.whole("threads", found.get("threads", 1), 1)
        return Sweep(
            recipe,
            checks.path("out", found["out"]),
            _contestants(found, recipe),
            _seeds(found.get("seeds", [recipe.get("seed", 0)])),
            _over(found.get("over", {})),
            _dense(found.get("dense", {})),
            _mixing(found.get("mixing", {})),
            checks.reference("choose_by", found["choose_by"]) if "choose_by" in found else None,
            checks.table("choose_args", found.get("choose_args", {})),
            checks.whole("workers", found["workers"], 1) if "workers" in found else None,
            threads,
            Cluster.read(found["ray"], threads) if "ray" in found else None,
            beside,
            shortened,
        )


def _shorter(recipe: dict[str, Any], own_methods: bool) -> tuple[dict[str, Any], tuple[Change, ...]]:
    """The recipe after its section ``fast``. What that says of the recipe's methods is left out where the sweep names
    others: it would be told, and would change nothing."""
    wanted = checks.table("fast", recipe.get("fast") or {})
    left = {key: value for key, value in wanted.items() if not (own_methods and key.split(".")[0] == "method")}
    if wanted and not left:
        raise BadInput(
            "--fast: the recipe's section fast changes its methods alone, and the sweep has methods of its own. Make "
            "these shorter there, for instance with --set methods.0.hold=10, or leave --fast out"
        )
    return quickened({**recipe, "fast": left}, "the recipe")


def changed(data: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A copy of plain data with values put at dotted keys."""
    found = dict(data)
    for key, value in changes.items():
        found = put(found, key.split("."), value, f"{where}: {key}")
    return found


def read_grid(where: str, data: Any) -> dict[str, tuple[Any, ...]]:
    """Keys and the values that each takes: a list, none of them twice; one value alone is a list of one."""
    found = checks.table(where, data)
    for key, value in found.items():
        if value is None:
            raise BadInput(f"{where}.{key} has no values; give it some, such as [1, 2], or leave it out")
    return {key: tuple(_values(f"{where}.{key}", value)) for key, value in found.items()}


def _values(where: str, value: Any) -> list[Any]:
    found = checks.listed(value)
    twice = [one for i, one in enumerate(found) if one in found[:i]]
    if twice:
        raise BadInput(f"{where}: {twice[0]!r} stands there twice")
    if not found and value is not None:
        raise BadInput(f"{where} is an empty list; give it values, or leave it out")
    return found


def _targets(where: str, value: Any) -> list[Any]:
    found = _values(where, value)
    for one in found:
        for key in ("macs", "params", "ratio"):
            if isinstance(one, dict) and isinstance(one.get(key), list):
                each = ", ".join(f"{{{key}: {amount}}}" for amount in one[key])
                raise BadInput(f"{where}: {key} takes one number; a list of targets is {where}: [{each}]")
    return found


def _recipe(value: Any, folder: Path) -> tuple[dict[str, Any], Path]:
    """A recipe's plain data, from the file that is named or as it stands in the sweep, and its folder."""
    if isinstance(value, str):
        path = folder / value
        found = read_yaml(path)
        return checks.table(f"the recipe {path}", found), path.parent.resolve()
    return checks.table("recipe", value), folder


def _contestants(found: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[Contestant, ...]:
    """The methods of the sweep, or else those of the recipe."""
    targets = tuple(_targets("targets", found.get("targets")))
    key = "methods" if "methods" in found else "recipe.method"
    listed = checks.listed(found.get("methods", recipe.get("method")))
    if not listed:
        raise BadInput("neither the sweep nor its recipe names a method; add methods: [magnitude, greg1]")
    methods = tuple(Contestant.read(f"{key}[{i}]", one, targets) for i, one in enumerate(listed))
    if targets and all(map(_has_targets, listed)):
        names = ", ".join(one.label for one in methods)
        raise BadInput(
            f"targets: no method takes them, since all in {key} have targets of their own, which go first: {names}. "
            "Name the methods in the sweep without 'target', or leave targets out"
        )
    labels = [one.label for one in methods]
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise BadInput(f"{key}: two methods are called {twice[0]!r}; give them labels of their own")
    return methods


def _has_targets(method: Any) -> bool:
    return isinstance(method, Mapping) and ("target" in method or method.get("targets") is not None)


def _seeds(value: Any) -> tuple[int, ...]:
    if type(value) is int:
        return tuple(range(checks.whole("seeds", value, 1)))
    found = tuple(checks.whole(f"seeds[{i}]", one, 0) for i, one in enumerate(_values("seeds", value)))
    if not found:
        raise BadInput("seeds must be a number of seeds, such as 3, or a list of them, such as [0, 1, 2]")
    return found


def _changes(where: str, value: Any) -> dict[str, Any]:
    """Dotted keys of the recipe and their values."""
    found = checks.table(where, value)
    for key in found:
        if key in ("method", "out", "fast") or key.startswith("method."):
            raise BadInput(f"{where}: {key!r} is for the sweep to say: methods, targets, out and fast stand beside it")
    return found


def _dense(value: Any) -> dict[str, Any]:
    found = _changes("dense", value)
    for key in found:
        if key not in ("model", "weights", "seed") and key.split(".")[0] != "model_args":
            raise BadInput(
                f"dense: {key!r} has no part in how the dense network is built: that takes model, model_args, weights "
                "and seed alone. What is to hold for all trials stands under 'set'"
            )
    return found


def _over(value: Any) -> dict[str, tuple[Any, ...]]:
    found = read_grid("over", value)
    for key in found:
        if key.split(".")[0] in _OWN:
            raise BadInput(
                f"over: {key!r} is no axis of a sweep. Methods, targets and seeds have keys of their own, and networks "
                "are timed all together, at the end."
            )
    return found


def _mixing(value: Any) -> dict[str, str]:
    found = checks.mapping("mixing", value, RULES)
    return {rule: checks.text(f"mixing.{rule}", label) for rule, label in found.items()}


def _amount(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise BadInput(f"{where} must be a number of at least 0, not {value!r}")
    return float(value)


__all__ = ["Cluster", "Contestant", "Sweep", "changed", "read_grid"]
