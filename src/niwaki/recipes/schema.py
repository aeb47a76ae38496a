"""What a recipe may say: frozen values, checked when they are read, before anything is imported or computed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes import checks
from niwaki.recipes.fast import Change, quickened
from niwaki.recipes.made_up import Draw, is_shape, read_named
from niwaki.recipes.rates import Linear, Step, read_schedule, schedule_json
from niwaki.recipes.reading import override, read_yaml
from niwaki.recipes.sizes import Sizes, dynamic_json, read_dynamic
from niwaki.schedules import above_zero
from niwaki.targets import RUNTIMES

FORMATS = ("onnx", "torch_export", "openvino")
DECAYS = ("all", "matrices")
KEYS = (
    "model", "model_args", "weights", "inputs", "data", "data_args", "loss", "evaluate", "evaluate_args", "method",
    "optimizer", "finetune", "seed", "out", "pack", "export", "dynamic", "measure", "fast",
)  # fmt: skip
REQUIRED = ("model", "inputs", "method", "out")
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class OptimizerChoice:
    """A class in torch.optim and its settings.

    Attributes:
        decay: which tensors ``weight_decay`` is for: ``all``, or ``matrices``, so that biases and norms have none.
        clip: the longest gradient, of all weights together; longer ones are shortened. None: as they are.
        schedule: how the rate changes while a method prunes, anew in each of its rounds. (While the pruned network is
            trained on, that is ``finetune.schedule``.)
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    decay: str = "all"
    clip: float | None = None
    schedule: str | Step | Linear = "constant"

    @staticmethod
    def read(where: str, data: Any) -> OptimizerChoice:
        found = checks.table(where, data)
        if "name" not in found:
            raise BadInput(f"{where} lacks 'name', for instance {{name: SGD, lr: 0.001, momentum: 0.9}}")
        name = checks.text(f"{where}.name", found.pop("name"))
        decay = checks.one_of(f"{where}.decay", found.pop("decay", "all"), DECAYS)
        clip = found.pop("clip", None)
        if clip is not None:
            above_zero(clip, f"{where}.clip")
        schedule = read_schedule(f"{where}.schedule", found.pop("schedule", "constant"))
        return OptimizerChoice(name, found, decay, clip, schedule)

    def to_json(self) -> dict[str, Any]:
        decay = {} if self.decay == "all" else {"decay": self.decay}
        clip = {} if self.clip is None else {"clip": self.clip}
        schedule = {} if self.schedule == "constant" else {"schedule": schedule_json(self.schedule)}
        return {"name": self.name, **self.settings, **decay, **clip, **schedule}


@dataclass(frozen=True)
class MethodChoice:
    """A method's name and settings, and the label under which its result is filed and shown."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @staticmethod
    def read(where: str, data: Any) -> MethodChoice:
        found = {"name": data} if isinstance(data, str) else checks.table(where, data)
        if "name" not in found:
            raise BadInput(f"{where} lacks 'name', for instance {{name: magnitude, target: {{macs: 0.5}}}}")
        name = checks.text(f"{where}.name", found.pop("name"))
        label = checks.text(f"{where}.label", found.pop("label", name))
        return MethodChoice(name, found, label)

    def to_json(self) -> dict[str, Any]:
        label = {} if self.label == self.name else {"label": self.label}
        return {"name": self.name, **label, **self.settings}


@dataclass(frozen=True)
class Finetune:
    """Training after the cut, alike for all methods. Without an optimizer of its own it takes the recipe's; its
    ``data_args`` go before the recipe's."""

    epochs: int
    optimizer: OptimizerChoice | None = None
    schedule: str | Step | Linear = "cosine"
    data_args: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(data: Any) -> Finetune:
        found = checks.mapping("finetune", data, ("epochs", "optimizer", "schedule", "data_args"), ("epochs",))
        optimizer = found.get("optimizer")
        if isinstance(optimizer, Mapping) and "schedule" in optimizer:
            raise BadInput(
                "finetune.optimizer.schedule would do nothing: there the rate follows finetune.schedule. Write "
                f"finetune.schedule: {optimizer['schedule']}, beside the optimizer"
            )
        return Finetune(
            checks.whole("finetune.epochs", found["epochs"], 0),
            None if optimizer is None else OptimizerChoice.read("finetune.optimizer", optimizer),
            read_schedule("finetune.schedule", found.get("schedule", "cosine")),
            checks.table("finetune.data_args", found.get("data_args") or {}),
        )

    def to_json(self) -> dict[str, Any]:
        optimizer = {} if self.optimizer is None else {"optimizer": self.optimizer.to_json()}
        schedule = schedule_json(self.schedule)
        arguments = {"data_args": dict(self.data_args)} if self.data_args else {}
        return {"epochs": self.epochs, **optimizer, "schedule": schedule, **arguments}


@dataclass(frozen=True)
class Measure:
    """Where and how long to measure latency. ``runs: 0`` or no runtime: not at all. ``forecast``: forecast it, too,
    before any training, to be compared with what is measured."""

    runtimes: tuple[str, ...] = ("pytorch",)
    threads: int = 1
    runs: int = 30
    forecast: bool = False

    @staticmethod
    def read(data: Any) -> Measure:
        found = checks.mapping("measure", data, ("runtimes", "threads", "runs", "forecast"))
        runtimes = checks.listed(found.get("runtimes", ["pytorch"]))
        return Measure(
            tuple(dict.fromkeys(checks.one_of("measure.runtimes", r, RUNTIMES) for r in runtimes)),
            checks.whole("measure.threads", found.get("threads", 1), 1),
            checks.whole("measure.runs", found.get("runs", 30), 0),
            checks.flag("measure.forecast", found.get("forecast", False)),
        )

    def to_json(self) -> dict[str, Any]:
        forecast = {"forecast": True} if self.forecast else {}
        return {"runtimes": list(self.runtimes), "threads": self.threads, "runs": self.runs, **forecast}


@dataclass(frozen=True)
class Recipe:
    """One recipe. Relative files in it are looked for beside the recipe (``folder``), then in the current directory.
    ``pack``: each method that leaves zeros gives a second network in which they save time. ``dynamic``: which sizes may
    vary in exported files, as :func:`niwaki.export.onnx` takes it. ``shortened``: what its
    section ``fast`` has changed in it."""

    model: str
    inputs: str | Shapes | Mapping[str, Draw]
    methods: tuple[MethodChoice, ...]
    out: str
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    data: str | None = None
    data_args: Mapping[str, Any] = field(default_factory=dict)
    loss: str | None = None
    evaluate: str | None = None
    evaluate_args: Mapping[str, Any] = field(default_factory=dict)
    optimizer: OptimizerChoice | None = None
    finetune: Finetune | None = None
    seed: int = 0
    pack: bool = False
    export: tuple[str, ...] = ()
    dynamic: Sizes = False
    measure: Measure = field(default_factory=Measure)
    folder: Path = field(default=Path("."), compare=False)
    shortened: tuple[Change, ...] = field(default=(), compare=False)

    @staticmethod
    def load(path: str | os.PathLike[str], overrides: Sequence[str] = (), fast: bool = False) -> Recipe:
        """Read a recipe file, with overrides such as ``"method.target.macs=0.5"``; ``fast``: after the changes that
        its section of that name makes.

        Raises:
            BadInput: the file or a key is missing, unknown or says what cannot be; the message names the place.
        """
        path = Path(path)
        data = read_yaml(path)
        if not isinstance(data, dict):
            raise BadInput(f"the recipe {path} must be a mapping with the keys {', '.join(KEYS)}; found {data!r:.60}")
        if "recipe" in data and "model" not in data:
            raise BadInput(f"{path} is a sweep: niwaki sweep {path}")
        _refuse_fast(overrides)
        data, shortened = quickened(data, str(path)) if fast else (data, ())
        return replace(Recipe.read(override(data, overrides), path.parent.resolve()), shortened=shortened)

    @staticmethod
    def read(data: Any, folder: Path = Path(".")) -> Recipe:
        """The recipe in plain data. A section ``fast`` is checked, and left out."""
        found = checks.mapping("the recipe", data, KEYS, REQUIRED)
        for key, value in found.items():
            checks.finite(key, value)
        checks.table("fast", found.pop("fast", None) or {})
        found = {key: value for key, value in found.items() if value is not None}
        optional = {key: convert(found[key]) for key, convert in _OPTIONAL.items() if key in found}
        recipe = Recipe(
            checks.reference("model", found["model"]), read_inputs(found["inputs"]), _methods(found["method"]),
            checks.path("out", found["out"]), **optional, folder=folder,
        )  # fmt: skip
        # Who says export: [] has switched exports off for once, and need not take dynamic out.
        if recipe.dynamic and "export" not in found and not recipe.wants_onnx:
            raise BadInput(
                "dynamic says which sizes may vary in exported files, and nothing is exported: name formats in export "
                f"({', '.join(FORMATS)}), or leave dynamic out"
            )
        return recipe

    def to_json(self) -> dict[str, Any]:
        """Plain data from which :meth:`read` makes an equal recipe."""
        given: dict[str, Any] = {
            "model": self.model, "model_args": dict(self.model_args), "weights": self.weights,
            "inputs": _inputs_to_json(self.inputs),
            "data": self.data, "data_args": dict(self.data_args), "loss": self.loss,
            "evaluate": self.evaluate, "evaluate_args": dict(self.evaluate_args),
            "method": [m.to_json() for m in self.methods],
            "optimizer": self.optimizer and self.optimizer.to_json(),
            "finetune": self.finetune and self.finetune.to_json(),
            "seed": self.seed, "out": self.out, "pack": self.pack or None,
            "export": list(self.export), "dynamic": dynamic_json(self.dynamic), "measure": self.measure.to_json(),
        }  # fmt: skip
        return {key: value for key, value in given.items() if value not in (None, {}, [])}

    @property
    def wants_onnx(self) -> bool:
        """Is an ONNX file needed, for itself or to be timed?"""
        return "onnx" in self.export or ("onnxruntime" in self.measure.runtimes and self.measure.runs > 0)

    @property
    def entries(self) -> tuple[str, ...]:
        """For each method the name of its folder, which is its name in the report too."""
        taken = ["dense"]
        for method in self.methods:
            stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", method.name).strip("-.") or "method"
            numbered = (f"{stem}-{k}" for k in range(2, len(taken) + 3))
            taken.append(stem if stem not in taken else next(n for n in numbered if n not in taken))
        return tuple(taken[1:])


def _refuse_fast(overrides: Sequence[str]) -> None:
    """Changes are made after the section ``fast``, so that one in it would come too late."""
    for change in overrides:
        key, _, value = change.partition("=")
        if key.strip() == "fast" or key.strip().startswith("fast."):
            own = key.strip().removeprefix("fast").removeprefix(".") or "KEY.KEY"
            raise BadInput(
                f"--set {change!r}: the section fast is read before any --set, so that this would do nothing; set the "
                f"key itself: --set {own}={value if '.' in key else 'VALUE'}"
            )


_OPTIONAL: dict[str, Callable[[Any], Any]] = {
    "data": lambda value: checks.reference("data", value),
    "loss": lambda value: checks.reference("loss", value),
    "evaluate": lambda value: checks.reference("evaluate", value),
    **{
        key: lambda value, key=key: checks.table(key, value)  # type: ignore[misc]
        for key in ("data_args", "evaluate_args")
    },
    "model_args": lambda value: checks.portable("model_args", value),
    "weights": lambda value: checks.path("weights", value),
    "optimizer": lambda value: OptimizerChoice.read("optimizer", value),
    "finetune": Finetune.read,
    "seed": lambda value: checks.whole("seed", value, 0),
    "pack": lambda value: checks.flag("pack", value),
    "export": lambda value: tuple(dict.fromkeys(checks.one_of("export", v, FORMATS) for v in checks.listed(value))),
    "dynamic": read_dynamic,
    "measure": Measure.read,
}


def read_inputs(value: Any) -> str | Shapes | Mapping[str, Draw]:
    """What a recipe, or an option, says of inputs."""
    if isinstance(value, str):
        return checks.reference("inputs", value)
    if isinstance(value, Mapping):
        return read_named(value)
    shapes = checks.listed(value)
    if not shapes or not all(map(is_shape, shapes)):
        raise BadInput(
            f"inputs must be module:function or a list of shapes, one per argument (or a mapping of arguments to "
            f"shapes), such as [[1, 3, 32, 32]]; found {value!r}"
        )
    return tuple(tuple(shape) for shape in shapes)


def _inputs_to_json(inputs: str | Shapes | Mapping[str, Draw]) -> Any:
    if isinstance(inputs, str):
        return inputs
    if isinstance(inputs, Mapping):
        return {name: draw.to_json() for name, draw in inputs.items()}
    return [list(shape) for shape in inputs]


def _methods(value: Any) -> tuple[MethodChoice, ...]:
    many = isinstance(value, (list, tuple))
    choices = [MethodChoice.read(f"method[{i}]" if many else "method", v) for i, v in enumerate(checks.listed(value))]
    if not choices:
        raise BadInput(
            "method is an empty list; name at least one, for instance {name: magnitude, target: {macs: 0.5}}"
        )
    labels = [choice.label for choice in choices]
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise BadInput(
            f"method: two are called {twice!r}, and no table could tell them apart; give each a label of its own, such "
            f"as label: {twice} again"
        )
    return tuple(choices)
