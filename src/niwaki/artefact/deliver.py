"""Write the whole folder: the model as :func:`niwaki.save` does, and beside it all that it can say of itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from niwaki import export
from niwaki.artefact.card import recipe_text, write_card
from niwaki.artefact.checks import check_examples
from niwaki.artefact.documents import write_json, write_text
from niwaki.artefact.examples import DESCRIPTION, EXAMPLES, LIMIT, Example, make_examples, write_examples
from niwaki.artefact.manifest import MANIFEST, Manifest
from niwaki.artefact.measurements import Measured, Measurements
from niwaki.artefact.names import CERTIFICATE, ENVIRONMENT, EXPORTED, MEASUREMENTS, RECIPE
from niwaki.artefact.origin import Origin
from niwaki.artefact.surroundings import surroundings
from niwaki.errors import BadInput, MissingExtra
from niwaki.export import Dynamic
from niwaki.graph.observe import Inputs
from niwaki.measure.size import batch_size
from niwaki.packing import certify_packed, packing_of
from niwaki.surgery.certify import Certificate, certify
from niwaki.surgery.cut import plan_of
from niwaki.surgery.store import load, save
from niwaki.wrappers import unwrapped


@dataclass(frozen=True)
class Story:
    """What a folder is told of its model.

    Attributes:
        origin: where the model comes from. certificate: as :meth:`Certificate.to_json` gives it. recipe: plain data.
        command: that made the folder. notes: sentences for the card.
    """

    origin: Origin
    measurements: Measurements | None = None
    certificate: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] | None = None
    command: str = ""
    notes: Sequence[str] = field(default_factory=tuple)


def deliver(
    small: nn.Module,
    folder: str | os.PathLike[str],
    *,
    inputs: Inputs | None = None,
    more: Sequence[Inputs] = (),
    dense: nn.Module | None = None,
    dynamic: Dynamic = False,
    certificate: Certificate | None = None,
    measurements: Measurements | None = None,
    recipe: Mapping[str, Any] | None = None,
    command: str = "",
    function: str = "",
    arguments: Mapping[str, Any] | None = None,
    base_model: str = "",
    license: str = "",
    notes: Sequence[str] = (),
    seed: int = 0,
    limit: int = LIMIT,
) -> Path:
    """Write a pruned model into a folder that describes itself, and that ``niwaki certify`` checks anywhere.

    Files that are there already are described with it: export first. ``model.onnx``, ``model.xml`` and ``model.pt2``
    are in the certificate that is made, as far as their runtimes are there. (A program of torch.export is code that is
    run.)

    Args:
        small: the cut or packed model. inputs: as for :func:`niwaki.trace`; examples are made of them, and work and
            memory counted. more: further ones, for examples. Without ``inputs`` there are no examples.
        dense: the model that ``small`` was cut from (of a packed one, what :func:`niwaki.pack` was given); it is
            measured beside it, and if no ``certificate`` is given one is made. dynamic: which sizes were to vary in
            what was exported, as :func:`niwaki.certify` takes it.
        measurements: if there are any already, with latencies for instance; in place of those counted here.
        recipe: plain data that ``niwaki prune`` would read. command: that made the model.
        function: ``module:function`` that builds the dense model, with ``arguments``; it is named, never called.
        base_model: for the card, of a Hugging Face model by default the name in its config. license: for the card; none
            is told if none is given. notes: sentences for the card.
        seed: of the examples that are drawn. limit: most bytes of all examples.

    Raises:
        BadInput: the model was not cut by niwaki; or the inputs cannot be kept, or are larger than ``limit``; or an
            exported file does not take the sizes of ``more``; or, where no certificate would tell, it answers otherwise
            than the model does, or there are no inputs to see that on.
    """
    small = unwrapped(small, "what is delivered")
    examples = [] if inputs is None else make_examples(small, inputs, more=more, seed=seed, limit=limit)
    _check_exported(Path(folder), examples, _certified_formats(certificate, dense is not None and inputs is not None))
    folder = save(small, folder)
    if measurements is None:
        measurements = _counted(small, dense, inputs)
    if certificate is None and dense is not None and inputs is not None:
        certificate = _certified(small, dense, inputs, more, folder, dynamic)
    _write_examples(examples, folder)
    origin = Origin.of(small, function, arguments or {}, base_model, license)
    told = None if certificate is None else certificate.to_json()
    return describe(folder, Story(origin, measurements, told, recipe, command, notes))


def describe(folder: Path, story: Story) -> Path:
    """Write anew what the folder says of itself: figures, certificate, recipe, versions, card and hashes. The model,
    its exports and its examples stay as they are."""
    (folder / MANIFEST).unlink(missing_ok=True)  # who is broken off leaves a folder that claims nothing
    _put(folder / MEASUREMENTS, "measurements", None if story.measurements is None else story.measurements.to_json())
    _put(folder / CERTIFICATE, "certificate", story.certificate)
    _put(folder / ENVIRONMENT, "environment", surroundings())
    if story.recipe is None:
        (folder / RECIPE).unlink(missing_ok=True)
    else:
        write_text(folder / RECIPE, recipe_text(story.recipe))
    write_card(folder, story)
    Manifest.of(folder, story.origin.to_json()).save(folder)
    return folder


def _put(path: Path, kind: str, data: Mapping[str, Any] | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, kind, data)


def _write_examples(examples: Sequence[Any], folder: Path) -> None:
    if examples:
        write_examples(examples, folder)
        return
    for name in (EXAMPLES, DESCRIPTION):
        (folder / name).unlink(missing_ok=True)


def _counted(small: nn.Module, dense: nn.Module | None, inputs: Inputs | None) -> Measurements:
    before = None if dense is None else Measured.of(dense, inputs)
    return Measurements(Measured.of(small, inputs), before, None if inputs is None else batch_size(inputs))


def _certified(
    small: nn.Module, dense: nn.Module, inputs: Inputs, more: Sequence[Inputs], folder: Path, dynamic: Dynamic
) -> Certificate:
    again, exported = load(folder, dense), _exported(folder)
    if packing_of(small) is not None:
        return certify_packed(dense, small, inputs, more=more, reloaded=again, exported=exported, dynamic=dynamic)
    plan = plan_of(small)
    if plan is None:
        raise BadInput(f"{type(small).__name__} was not cut by niwaki: there is no plan to certify it by")
    return certify(dense, plan, small, inputs, reloaded=again, exported=exported, dynamic=dynamic, also=more)


def _certified_formats(certificate: Certificate | None, made: bool) -> frozenset[str]:
    """The formats that the certificate tells of: the one given, or the one that is ``made``, of all files."""
    if certificate is None:
        return frozenset(EXPORTED if made else ())
    return frozenset(check.name for check in certificate.checks)


def _check_exported(folder: Path, examples: Sequence[Example], certified: Collection[str]) -> None:
    """A file that an older model left there must not be told of as this one's; nor one that the check of the folder
    would reject, since it takes no inputs of other sizes."""
    for form, name in EXPORTED.items():
        if not examples and form not in certified and (folder / name).is_file():
            raise BadInput(
                f"{folder / name} may be of another model, and there is nothing to compare it on: give inputs, or a "
                f"certificate that has a check called {form!r}, or remove it"
            )
    for form, run in _exported(folder).items() if examples else ():
        _check_sizes(folder / EXPORTED[form], run, examples)
        found = None if form in certified else check_examples(EXPORTED[form], run, examples)
        if found is not None and found.state == "fails":
            raise BadInput(
                f"{folder / EXPORTED[form]} is not of this model: {found.detail}. Export it again, or remove it"
            )


def _check_sizes(path: Path, run: Callable[..., Any], examples: Sequence[Example]) -> None:
    """Raise :class:`BadInput` if a file does not take an example whose sizes are others than the first one's."""
    for number, each in enumerate(examples):
        if each.sizes != examples[0].sizes:
            try:
                each.answered_by(run)
            except Exception as trouble:  # whatever a runtime says
                said = " ".join(str(trouble).split())[:200]
                raise BadInput(
                    f"{path} does not take the sizes of example {number}: {said}. Export it with dynamic=…, or leave "
                    "inputs of other sizes out of more"
                ) from trouble


def _exported(folder: Path) -> dict[str, Callable[..., Any]]:
    """Every exported file for which there is a runtime, by the name of its format."""
    found: dict[str, Callable[..., Any]] = {}
    for form, name in EXPORTED.items():
        if (folder / name).is_file():
            with suppress(MissingExtra):
                found[form] = export.opened(folder / name)
    return found


__all__ = ["Story", "deliver", "describe"]
