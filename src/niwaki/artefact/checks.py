"""The single checks of a folder; each gives findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from niwaki.artefact.documents import read_object
from niwaki.artefact.examples import DESCRIPTION, EXAMPLES, Example
from niwaki.artefact.manifest import MANIFEST, Manifest
from niwaki.artefact.names import CERTIFICATE
from niwaki.artefact.verdict import Finding, State
from niwaki.disk import WEIGHTS, Checkpoint
from niwaki.errors import BrokenFile, NiwakiError
from niwaki.packed import Packing
from niwaki.surgery.certify import TOLERANCE, compare
from niwaki.surgery.store import CONFIG, PACKING, PLAN
from niwaki.units import Plan
from niwaki.wording import counted

# Other machines sum in another order: what must hold here is wider than in a certificate, ten times.
ELSEWHERE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}


_READ = frozenset({CONFIG, PACKING, CERTIFICATE, PLAN, WEIGHTS, EXAMPLES})


def check_hashes(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """One finding for each file that is not as it was; one for all the others together."""
    faults = manifest.faults(folder)
    yield from (Finding(name, "hashes", "fails", fault) for name, fault in faults.items())
    sound = len(manifest.files) - len(faults)
    if sound and not faults:
        yield Finding(MANIFEST, "hashes", "holds", f"all {counted(sound, 'file')} have the size and the sha256 listed")
    if not manifest.files:
        yield Finding(MANIFEST, "hashes", "fails", "it lists no file")
    for name in manifest.strangers(folder):
        if name in _READ:
            yield Finding(name, "hashes", "fails", "lies here and is not in the manifest, and a loader would read it")
            continue
        yield Finding(name, "note", "not checked", "lies here and is not in the manifest; nothing here reads it")


def check_fit(folder: Path) -> Iterator[Finding]:
    """Do the plan, the weights and the certificate belong together?"""
    try:
        plan, shapes = Plan.load(folder / PLAN), _shapes(folder / WEIGHTS)
        packed = _packed(folder)
    except (BrokenFile, OSError) as trouble:
        yield Finding(PLAN, "fit", "fails", str(trouble))
        return
    wrong = next(_misfits(plan, shapes, packed), "")
    if wrong:
        yield Finding(WEIGHTS, "fit", "fails", wrong)
    else:
        yield Finding(WEIGHTS, "fit", "holds", f"{counted(len(shapes), 'tensor')} of the shapes that {PLAN} leaves")
    if (folder / CERTIFICATE).is_file():
        yield _certificate(folder, plan)


def check_examples(
    subject: str, model: Callable[..., Any], examples: Sequence[Example], against: str = EXAMPLES
) -> Finding:
    """Does a model, or an exported one, answer as the stored one did?"""
    worst, most = 0.0, 0.0
    for number, each in enumerate(examples):
        try:
            found = each.answered_by(model)
        except Exception as trouble:  # whatever a runtime or a model says
            said = " ".join(str(trouble).split())
            return Finding(subject, "numbers", "fails", f"it cannot run example {number}: {said}")
        tolerance = tolerance_for(each.outputs)
        told = compare(subject, against, "forward", each.outputs, found, tolerance)
        if told.worst is None:
            return Finding(subject, "numbers", "fails", f"example {number}: {told.detail}")
        worst, most = max(worst, told.worst), max(most, tolerance)
    state: State = "holds" if worst <= most else "fails"
    how = "as in" if worst <= most else "OTHERWISE THAN in"
    detail = f"answers {counted(len(examples), 'example')} {how} {against}: worst {worst:.1e}, tolerance {most:.0e}"
    return Finding(subject, "numbers", state, detail, worst=worst, tolerance=most)


def tolerance_for(outputs: Sequence[Tensor]) -> float:
    """Largest difference relative to the largest answer that holds, by the least precise type among the answers."""
    return max([10 * TOLERANCE, *(ELSEWHERE.get(t.dtype, 0.0) for t in outputs)])


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file; of its data nothing is read."""
    return {name: entry.shape for name, entry in Checkpoint(path).entries.items()}


def _packed(folder: Path) -> frozenset[str]:
    """The layers whose tensors have other names and shapes than a plan could tell."""
    if not (folder / PACKING).is_file():
        return frozenset()
    return frozenset(layer.name for layer in Packing.load(folder / PACKING).layers if layer.is_packed)


def _misfits(plan: Plan, shapes: dict[str, tuple[int, ...]], packed: frozenset[str]) -> Iterator[str]:
    for name, shape in shapes.items():
        if name.rpartition(".")[0] in packed:
            continue
        known = plan.aliases.get(name, name)
        if known not in plan.tensors:
            yield f"it holds {name!r}, of which {PLAN} knows nothing"
        elif plan.shape(known) != shape:
            yield f"{name!r} has shape {shape}, and {PLAN} leaves {plan.shape(known)}"
    if not shapes:
        yield "it holds no tensor"
    for axis in plan.removed:
        names = {axis.name, *(alias for alias, first in plan.aliases.items() if first == axis.name)}
        if axis.name.endswith(".weight") and axis.name.rpartition(".")[0] not in packed and not names & set(shapes):
            yield f"{PLAN} cuts {axis.name!r}, and it is missing"


def _certificate(folder: Path, plan: Plan) -> Finding:
    try:
        found = read_object(folder / CERTIFICATE)
    except NiwakiError as trouble:
        return Finding(CERTIFICATE, "fit", "fails", str(trouble))
    if found.get("model") != plan.fingerprint:
        return Finding(CERTIFICATE, "fit", "fails", f"it is of another network than {PLAN}")
    checks = found.get("checks")
    if not isinstance(checks, list) or not checks:
        return Finding(CERTIFICATE, "fit", "fails", "it has no checks")
    if found.get("holds") is not True or not all(isinstance(c, dict) and c.get("holds") is True for c in checks):
        return Finding(CERTIFICATE, "fit", "fails", "it does not hold: see its checks")
    return Finding(CERTIFICATE, "fit", "holds", f"it says of this plan's network that {len(checks)} comparisons held")


__all__ = ["DESCRIPTION", "check_examples", "check_fit", "check_hashes", "tolerance_for"]
