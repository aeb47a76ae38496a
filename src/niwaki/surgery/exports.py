"""Exported files in a certificate: each is compared with the model on several inputs and sizes, and in its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.export import Dynamic, Opened, Sample, opened, samples
from niwaki.graph.observe import Inputs, call_arguments, evaluating
from niwaki.surgery.comparing import Check, answers, compare

Runs = Callable[..., Any] | str | os.PathLike[str]
Exported = Runs | Mapping[str, Runs] | None
"""What was exported: a file, or a callable with the model's arguments; several by name."""

SIZE, TABLES = 0.05, 2**16
"""By what share the weights in a file may be more than the model's, beside so many bytes: tables of positions and masks
that were computed while it was written, which are all that a tiny model's file has room for."""


def exported_checks(
    against: str,
    model: nn.Module,
    exported: Exported,
    inputs: Inputs,
    *,
    dynamic: Dynamic = False,
    also: Sequence[Inputs] = (),
    tolerance: float,
) -> Iterator[Check]:
    """The checks of everything that was exported of ``model``, which is called ``against``.

    Inputs that were drawn and that the model itself does not take are left out; if no input of that size is left, that
    is a check that fails.
    """
    found = {name: _ready(runs) for name, runs in _by_name(exported).items()}
    if not found:
        return
    tried: list[tuple[Sample, list[Tensor] | None]] = []
    for sample in [*samples(model, inputs, dynamic), *(_given(k, more) for k, more in enumerate(also))]:
        tried.append((sample, _reference(model, sample)))
    for name, runs in found.items():
        for sample, reference in tried:
            if reference is not None:
                yield _compared(name, against, runs, sample, reference, tolerance)
        yield from _never_varied(name, against, tried, tolerance)
        if isinstance(runs, Opened):
            yield _weights(name, against, runs, model)


def _by_name(exported: Exported) -> Mapping[str, Runs]:
    if exported is None or isinstance(exported, Mapping):
        return exported or {}
    return {"exported": exported}


def _ready(runs: Runs) -> Callable[..., Any]:
    return opened(runs) if isinstance(runs, (str, os.PathLike)) else runs


def _given(number: int, inputs: Inputs) -> Sample:
    args, kwargs = call_arguments(inputs)
    return Sample(args, kwargs, f"also[{number}]", given=True)


def _reference(model: nn.Module, sample: Sample) -> list[Tensor] | None:
    """The model's answers; None if it does not take what was drawn."""
    try:
        with torch.no_grad(), evaluating(model):
            return answers(model, sample.args, sample.kwargs)
    except Exception:
        if sample.given:
            raise
        return None


def _compared(
    name: str, against: str, runs: Callable[..., Any], sample: Sample, reference: list[Tensor], tolerance: float
) -> Check:
    try:
        with torch.no_grad():
            found = answers(runs, sample.args, sample.kwargs)
    except Exception as trouble:
        if sample.given:
            raise
        said = " ".join(str(trouble).split())[:200]
        return Check(name, against, "forward", None, tolerance, f"{sample.told}: could not be run: {said}")
    check = compare(name, against, "forward", reference, found, tolerance, sample.told)
    return check if check.worst is not None else _placed(check, sample)


def _placed(check: Check, sample: Sample) -> Check:
    return Check(check.name, check.against, check.kind, None, check.tolerance, f"{sample.told}: {check.detail}")


def _never_varied(
    name: str, against: str, tried: Sequence[tuple[Sample, list[Tensor] | None]], tolerance: float
) -> Iterator[Check]:
    wanted = {size for sample, _ in tried for size in sample.changed}
    done = {size for sample, reference in tried if reference is not None for size in sample.changed}
    for size in sorted(wanted - done):
        told = f"{size}: the model itself takes none of the other sizes that were tried"
        yield Check(name, against, "forward", None, tolerance, told)


def _weights(name: str, against: str, runs: Opened, model: nn.Module) -> Check:
    """How much more the file holds than the model."""
    tensors = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    own = sum(t.numel() * t.element_size() for t in tensors.values())
    held, whole = runs.weight_bytes, runs.file_bytes
    more = max(0, held - own - TABLES) / own if own else float(held)
    told = f"{held:,} bytes of weights where the model has {own:,}; {whole:,} bytes in all"
    return Check(name, against, "file size", more, SIZE, told)


__all__ = ["Exported", "exported_checks"]
