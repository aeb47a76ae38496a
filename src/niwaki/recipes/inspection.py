"""From the words of ``niwaki certify`` to the live things that a folder is checked with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.artefact import Verdict, verify
from niwaki.artefact.building import build_from_config
from niwaki.artefact.manifest import MANIFEST, Manifest
from niwaki.errors import BadInput, BrokenFile
from niwaki.graph.observe import Inputs
from niwaki.recipes import checks
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.ingredients import build_inputs, build_model, fill
from niwaki.recipes.reading import parse
from niwaki.recipes.schema import read_inputs


@dataclass(frozen=True)
class Asked:
    """What was asked for, in words.

    Attributes:
        model: ``module:function`` of the dense model. dense: one such with the dense weights, or a file or folder of
            them. inputs: ``module:function``, or shapes. trust_recipe: build the model by what the folder names.
    """

    folder: Path
    model: str | None = None
    dense: str | None = None
    inputs: str | None = None
    trust_pt2: bool = False
    trust_recipe: bool = False
    threads: int = 1


def inspect(asked: Asked) -> Verdict:
    """Check a folder with what was given.

    Raises:
        BadInput, BrokenFile: what was asked for cannot be used, or the folder is none of niwaki's.
    """
    manifest = Manifest.load(asked.folder)
    with _importing_past(asked.folder):
        # Both are built before anything is looked at: a slip in an option must not read like a fault of the folder.
        build = _builder(asked, manifest)
        model = None if build is None else build()
        dense = _dense(asked, manifest)
        return verify(
            asked.folder, model=model, dense=dense, inputs=_inputs(asked, model, dense), threads=asked.threads,
            trust_pt2=asked.trust_pt2, advice=_advice(manifest),
        )  # fmt: skip


@contextmanager
def _importing_past(folder: Path) -> Iterator[None]:
    """Let modules be found in the current directory, and none in the folder that is checked, even from within it."""
    with importing_from(Path.cwd()):
        sys.path[:] = [place for place in sys.path if not Path(place).resolve().is_relative_to(folder.resolve())]
        yield


def _builder(asked: Asked, manifest: Manifest) -> Callable[[], nn.Module] | None:
    """What builds the dense model, of any weights."""
    named = manifest.model.get("function")
    if asked.model is not None:
        return _function("--model", asked.model, manifest)
    if asked.trust_recipe and named is None:
        raise BadInput(f"--trust-recipe: {MANIFEST} names no function that builds the model; give --model")
    return _function("--trust-recipe", named, manifest) if asked.trust_recipe else None


def _function(where: str, reference: Any, manifest: Manifest) -> Callable[[], nn.Module]:
    """The function, with the arguments that the recipe gave it if it is the recipe's."""
    reference = checks.reference(where, reference)
    recipe = manifest.model if manifest.model.get("function") == reference else {}
    arguments = checks.table(f"{MANIFEST}: arguments", recipe.get("arguments") or {})
    return partial(build_model, reference, arguments, where)


def _dense(asked: Asked, manifest: Manifest) -> nn.Module | Callable[[], nn.Module] | None:
    """The dense model with its weights: of a function, a folder of transformers, or a file for ``--model``."""
    if asked.dense is None:
        return None
    path = Path(asked.dense)
    if path.is_dir():
        return _filled(_from_config(path), path)
    if path.is_file() or path.suffix == ".safetensors":
        build = _builder(asked, manifest) or _from_own_config(asked, manifest)
        if not path.exists():
            raise BadInput(f"--dense: there is no file {path}")
        try:
            return _filled(build(), path)
        except BrokenFile:  # config.json of the folder that is checked: a fault of it, and told as one
            return build
    return _function("--dense", asked.dense, manifest)()


def _from_config(path: Path) -> nn.Module:
    try:
        return build_from_config(path)
    except BrokenFile as trouble:
        raise BadInput(
            f"--dense: the folder {path} is none of transformers: {trouble}. Name one with config.json and weights, "
            "or a .safetensors file, or module:function"
        ) from trouble


def _from_own_config(asked: Asked, manifest: Manifest) -> Callable[[], nn.Module]:
    if manifest.model.get("library") != "transformers":
        raise BadInput("--dense FILE holds weights alone: --model module:function must build the model that they fit")
    return partial(build_from_config, asked.folder)


def _filled(model: nn.Module, path: Path) -> nn.Module:
    try:
        fill(model, path, "--dense")
    except BrokenFile as trouble:  # that of the user, not one of the folder that is checked
        said = str(trouble).removeprefix("--dense: ")
        raise BadInput(f"--dense: {said}") from trouble
    return model.eval()


def _inputs(asked: Asked, *given: nn.Module | Callable[[], nn.Module] | None) -> Inputs | None:
    if asked.inputs is None:
        return None
    model = next((each for each in given if each is not None), None)
    if model is None:
        raise BadInput("--inputs are what the model is run on: give --model module:function too")
    body = model if isinstance(model, nn.Module) else nn.Module()  # one that cannot be built has no device either
    return build_inputs(read_inputs(parse(asked.inputs, "--inputs")), body, 0)


def _advice(manifest: Manifest) -> str:
    named = manifest.model.get("function")
    if not isinstance(named, str):
        return "give the function that builds the dense model: --model module:function"
    return f"the recipe named {named}: give --model {named} where it can be imported"


__all__ = ["Asked", "inspect"]
