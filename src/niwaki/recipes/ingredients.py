"""From the words of a recipe to live things: the model, its inputs, the user's functions, methods, optimizers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.disk.checkpoint import files_of
from niwaki.errors import BadInput, BrokenFile, nearest, require_extra, unknown_key
from niwaki.graph.observe import Inputs, call_arguments, evaluating
from niwaki.methods import Method, build
from niwaki.recipes.borrowed import call, find, require_fit, takes
from niwaki.recipes.chance import reseed
from niwaki.recipes.judging import measure_of
from niwaki.recipes.made_up import Draw
from niwaki.recipes.schema import OptimizerChoice, Recipe, Shapes
from niwaki.wording import some

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")


@dataclass(frozen=True, eq=False)
class Ingredients:
    """Everything that a run needs, found and checked before any work is done."""

    recipe: Recipe
    dense: nn.Module
    inputs: Inputs
    methods: tuple[Method, ...]
    data: Callable[..., Any] | None
    loss: Callable[..., Any] | None
    evaluate: Callable[..., Any] | None

    def batches(self, seed: int, tuning: bool = False) -> Iterable[Any]:
        """The user's batches, for pruning or for fine-tuning; the same order for every method that asks with the same
        seed."""
        assert self.data is not None
        reseed(seed)
        settings = _data_args(self.recipe, tuning)
        found = call("data", self.data, **settings, **({"seed": seed} if takes(self.data, "seed") else {}))
        if not isinstance(found, Iterable):
            raise BadInput(f"data: {self.recipe.data} must give an iterable of batches, not {type(found).__name__}")
        return found

    @property
    def measure(self) -> str:
        """What :meth:`accuracy` is called."""
        return measure_of(self.evaluate, self.recipe.evaluate_args)

    def accuracy(self, model: nn.Module) -> float | None:
        """What the user's ``evaluate`` says of a model, in eval mode; None if there is no such function."""
        if self.evaluate is None:
            return None
        with evaluating(model), torch.no_grad():
            found = call("evaluate", self.evaluate, model, **self.recipe.evaluate_args)
        try:
            value = float(found)
        except (TypeError, ValueError):
            raise BadInput(f"evaluate must give a number from 0 to 1, not {type(found).__name__}") from None
        if not 0 <= value <= 1:
            raise BadInput(f"evaluate must give a share from 0 to 1, not {value:g}; divide per cents by 100")
        return value


@dataclass(frozen=True, eq=False)
class Named:
    """What a recipe names, but for its network: found and checked."""

    methods: tuple[Method, ...]
    data: Callable[..., Any] | None
    loss: Callable[..., Any] | None
    evaluate: Callable[..., Any] | None


def gather(recipe: Recipe) -> Ingredients:
    """Find and check all that the recipe names. Cheap things first, so that a slip costs no waiting."""
    named = look_up(recipe)
    dense, inputs = model_and_inputs(recipe)
    for choice in _optimizers(recipe):  # some take matrices alone: that shows on the network's own parameters
        optimizer_for(choice, dense)
    return Ingredients(recipe, dense, inputs, named.methods, named.data, named.loss, named.evaluate)


def look_up(recipe: Recipe) -> Named:
    """All that takes no network: methods, functions and their arguments, optimizers, packages.

    Raises:
        BadInput, MissingExtra: something is not there, or does not fit.
    """
    methods = tuple(build(choice.name, choice.settings) for choice in recipe.methods)
    _require_training(recipe, methods)
    _require_packages(recipe)
    for choice in _optimizers(recipe):
        _rehearse(choice)
    data, loss, evaluate = (
        None if reference is None else find(key, reference)
        for key, reference in (("data", recipe.data), ("loss", recipe.loss), ("evaluate", recipe.evaluate))
    )
    _check_arguments(recipe, data, evaluate)
    return Named(methods, data, loss, evaluate)


def _optimizers(recipe: Recipe) -> list[OptimizerChoice]:
    found = (recipe.optimizer, recipe.finetune.optimizer if recipe.finetune else None)
    return [choice for choice in found if choice is not None]


def model_and_inputs(recipe: Recipe) -> tuple[nn.Module, Inputs]:
    """The dense model with its weights, and the inputs to trace and measure it on."""
    reseed(recipe.seed)
    model = build_model(recipe.model, recipe.model_args)
    if recipe.weights is not None:
        fill(model, beside(recipe, recipe.weights))
    return model, build_inputs(recipe.inputs, model, recipe.seed)


def build_model(reference: str, settings: Mapping[str, Any] | None = None, where: str = "model") -> nn.Module:
    """What the user's function returns, if it is a module; ``where`` names it in errors."""
    model = call(where, find(where, reference), **(settings or {}))
    if not isinstance(model, nn.Module):
        raise BadInput(f"{where}: {reference} must return a torch.nn.Module, not {type(model).__name__}")
    return model


def build_inputs(choice: str | Shapes | Mapping[str, Draw], model: nn.Module, seed: int) -> Inputs:
    """What the user's function returns, or random tensors of the shapes given, on the model's device."""
    if isinstance(choice, str):
        found = call("inputs", find("inputs", choice))
        call_arguments(found)
        return found
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    if isinstance(choice, Mapping):
        return {name: draw.tensor(generator).to(device) for name, draw in choice.items()}
    return tuple(Draw(shape).tensor(generator).to(device) for shape in choice)


def fill(model: nn.Module, path: Path, where: str = "weights") -> None:
    """Load weights into the model: a file of safetensors, or a folder of one or of shards with their index.

    ``where`` names them in errors.

    Files that would be unpickled are refused: they can run any code.

    Raises:
        BadInput: the weights are a pickle, or not those of such a model. BrokenFile: they cannot be read.
    """
    if path.suffix in _PICKLES:
        raise BadInput(
            f"{where}: {path.name} is a pickle, which can run code when it is read. Convert it once: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), "
            f"{path.stem + '.safetensors'!r}) (the state dict, if it holds more), and name that file."
        )
    files = files_of(path)
    found = [_fill_from(model, file, where) for file in files]
    missing = set(found[0][0]).intersection(*(lacks for lacks, _ in found[1:]))
    unknown = {name for _, strange in found for name in strange}
    for names, what in ((missing, "it lacks"), (unknown, "the model has no")):
        if names:
            listed = some([repr(name) for name in sorted(names)])
            raise BadInput(f"{where}: {path.name} does not fit {type(model).__name__}: {what} {listed}")


def _other_form(file: Path) -> str:
    if file.suffix not in (".th", ".pt", ".pth", ".bin"):
        return ""
    return (
        f". {file.suffix} is the form of torch.save; make the other of it once: safetensors.torch.save_file("
        f"niwaki.vision.checkpoint.weights({file.name!r}), {file.with_suffix('.safetensors').name!r})"
    )


def _fill_from(model: nn.Module, file: Path, where: str) -> tuple[Iterable[str], Iterable[str]]:
    """Load what one file holds; names of the model's tensors that it lacks, and of those that the model lacks."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        return load_model(model, str(file), strict=False)
    except SafetensorError as trouble:
        raise BrokenFile(
            f"{where}: {file} is not a readable safetensors file: {trouble}{_other_form(file)}"
        ) from trouble
    except RuntimeError as trouble:
        raise BadInput(f"{where}: {file.name} does not fit {type(model).__name__}: {trouble}") from trouble


def optimizer_for(choice: OptimizerChoice, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all of the model's parameters."""
    return _make(choice, list(model.parameters()))


def finite(loss: Any, step: int) -> float:
    """The loss as a number, if the user's function gave a usable one."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise BadInput(f"loss must return one number as a tensor with a gradient, not {what}")
    value = loss.item()
    if not math.isfinite(value):
        raise BadInput(f"the loss is {value} at step {step}: train with a smaller learning rate")
    return value


def _require_training(recipe: Recipe, methods: tuple[Method, ...]) -> None:
    """A method that takes steps, and fine-tuning, need data, a loss and an optimizer."""
    who = next((f"method {m.name!r} prunes while the model trains: it" for m in methods if m.takes_time), None)
    tuning = recipe.finetune is not None and recipe.finetune.epochs > 0
    needed = ["optimizer"] if who else []
    if tuning and recipe.finetune is not None and recipe.finetune.optimizer is None:
        needed = ["optimizer"]
    needed = ["data", "loss", *needed] if who or tuning else []
    missing = [key for key in needed if getattr(recipe, key) is None]
    if not missing:
        seeing = next((m for m in methods if any(getattr(recipe, key) is None for key in m.needs)), None)
        missing = [] if seeing is None else [key for key in sorted(seeing.needs) if getattr(recipe, key) is None]
        who = who if seeing is None else f"method {seeing.name!r} looks at data: it"
    if missing:
        raise BadInput(f"{who or 'finetune'} needs {', '.join(map(repr, missing))} in the recipe")


def _data_args(recipe: Recipe, tuning: bool) -> dict[str, Any]:
    """What ``data`` is called with, beside the seed."""
    own = recipe.finetune.data_args if tuning and recipe.finetune is not None else {}
    return {**recipe.data_args, **own}


def _check_arguments(recipe: Recipe, data: Callable[..., Any] | None, evaluate: Callable[..., Any] | None) -> None:
    """Arguments that do not fit are told now, not when the function is called."""
    for key, function, settings in (
        ("data_args", data, _data_args(recipe, tuning=False)),
        ("finetune.data_args", data, _data_args(recipe, tuning=True)),
        ("evaluate_args", evaluate, recipe.evaluate_args),
    ):
        if settings and function is None:
            raise BadInput(f"{key} are given, but no function that takes them; name it, or leave them out")
        if "seed" in settings and function is data:
            raise BadInput(f"{key}: the seed of the batches comes from the recipe's key seed; leave it out here")
        if function is not None:
            require_fit(key, function, settings)


def _require_packages(recipe: Recipe) -> None:
    """Missing extras are told before hours of training, not after."""
    from importlib.util import find_spec

    wanted = [("matplotlib", "plot")]
    if recipe.wants_onnx:
        wanted += [("onnx", "onnx"), ("onnxscript", "onnx"), ("onnxruntime", "onnx")]
    if "openvino" in recipe.export or ("openvino" in recipe.measure.runtimes and recipe.measure.runs):
        wanted += [("openvino", "openvino")]
    for package, extra in wanted:
        if find_spec(package) is None:
            raise require_extra(package, extra)


def beside(recipe: Recipe, name: str) -> Path:
    """A file named in the recipe: beside it, or in the current directory."""
    places = list(dict.fromkeys([recipe.folder / name, Path.cwd() / name]))
    for place in places:
        if place.is_file():
            return place
    raise BadInput(
        f"weights: there is no file {' nor '.join(str(p) for p in places)}; put it there, or name yours with "
        "--set weights=FILE"
    )


def _rehearse(choice: OptimizerChoice) -> None:
    """One step on a toy parameter, so that a wrong setting (or a closure that nobody will give) shows now."""
    toy = nn.Parameter(torch.ones(2, 2))
    toy.grad = torch.zeros(2, 2)
    try:
        _make(choice, [toy]).step()
    except BadInput:
        raise
    except Exception as trouble:  # whatever a class of torch.optim says
        raise BadInput(f"optimizer {choice.name!r} cannot be stepped without more: {trouble}") from trouble


def _make(choice: OptimizerChoice, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    cls = getattr(torch.optim, choice.name, None)
    if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer):
        known = [
            n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)
        ]
        raise BadInput(
            f"torch.optim has no {choice.name!r}{nearest(choice.name, known) or '.'} Known: {', '.join(known)}."
        )
    arguments = [n for n in inspect.signature(cls).parameters if n != "params"]
    for key in choice.settings:
        if key not in arguments:
            raise unknown_key(f"optimizer {choice.name!r}", key, arguments)
    try:
        made: torch.optim.Optimizer = cls(_grouped(choice, parameters), **choice.settings)
    except (TypeError, ValueError) as trouble:
        raise BadInput(f"optimizer {choice.name!r}: {trouble}") from trouble
    except Exception as trouble:  # a list that is too short, and whatever else a class trips over
        said = f"{type(trouble).__name__}: {trouble}"
        raise BadInput(f"optimizer {choice.name!r} cannot be made with {choice.settings}: {said}") from trouble
    return made


def _grouped(choice: OptimizerChoice, parameters: list[nn.Parameter]) -> list[Any]:
    """One group; or, where only matrices are to decay, theirs and that of biases and norms."""
    if choice.decay == "all":
        return parameters
    if "weight_decay" not in choice.settings:
        raise BadInput(f"optimizer {choice.name!r}: decay is {choice.decay}, but there is no 'weight_decay'; set it")
    spared = {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}
    return [{"params": [p for p in parameters if p.dim() >= 2]}, spared]
