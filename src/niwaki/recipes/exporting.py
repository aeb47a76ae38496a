"""What a run exports: tried on the dense network before any training, written for each network, and certified."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from niwaki import export
from niwaki.artefact.names import EXPORTED
from niwaki.errors import BadInput
from niwaki.export.varying import named, sizes_of
from niwaki.graph.observe import call_arguments
from niwaki.recipes.ingredients import Ingredients
from niwaki.surgery.certify import TOLERANCE, Certificate
from niwaki.surgery.comparing import Check
from niwaki.surgery.exports import exported_checks

ONNX = EXPORTED["onnx"]
_WRITERS = MappingProxyType({form: getattr(export, form) for form in EXPORTED})


def require_exports(stuff: Ingredients) -> None:
    """Write the dense network once in every format: what an exporter refuses is told before any training.

    Raises:
        BadInput: a size cannot vary, or an exporter does not take the network; the message names the format.
    """
    recipe = stuff.recipe
    if recipe.dynamic:
        sizes_of(recipe.dynamic, named(stuff.dense, *call_arguments(stuff.inputs)))
    for form in recipe.export:
        try:
            with tempfile.TemporaryDirectory(prefix="niwaki-") as room:
                write(stuff, stuff.dense, Path(room), [form])
        except BadInput as trouble:
            raise BadInput(
                f"export: {form} does not take the dense network, and would not take what is made of it: {trouble}. "
                f"Leave {form} out of export{', or dynamic' if recipe.dynamic else ''}, or change the model"
            ) from trouble


def write(stuff: Ingredients, model: nn.Module, folder: Path, forms: Collection[str]) -> dict[str, Path]:
    """Write the model in these formats, with the sizes varying that the recipe names: the file of each."""
    return {
        form: _WRITERS[form](model, stuff.inputs, folder / file, dynamic=stuff.recipe.dynamic)
        for form, file in EXPORTED.items()
        if form in forms
    }


def lacking(told: Mapping[str, Any], folder: Path, forms: Iterable[str]) -> list[str]:
    """Of these formats, those that a finished folder has no file of, or none that its certificate ``told`` covers."""
    proved = {check["name"] for check in told["checks"]}
    return [form for form in forms if form not in proved or not (folder / EXPORTED[form]).is_file()]


def extended(
    told: Mapping[str, Any], against: str, model: nn.Module, files: Mapping[str, Path], stuff: Ingredients
) -> Certificate:
    """A certificate that was read from JSON, with the checks of files that were written later. ``against``: what the
    other checks call the model."""
    old = [{key: value for key, value in one.items() if key != "holds"} for one in told["checks"]]
    kept = [Check(**one) for one in old if one["name"] not in files]
    more = exported_checks(against, model, files, stuff.inputs, dynamic=stuff.recipe.dynamic, tolerance=10 * TOLERANCE)
    return Certificate((*kept, *more), told["model"], dict(told["environment"]))


__all__ = ["ONNX", "extended", "lacking", "require_exports", "write"]
