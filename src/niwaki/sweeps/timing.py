"""Latency of all networks of a sweep: after all training, in one process, in turns; trials that run beside each other
cannot be timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from niwaki import export
from niwaki.artefact.manifest import digest as of_file
from niwaki.graph.observe import evaluating
from niwaki.measure import hardware
from niwaki.measure.size import batch_size
from niwaki.methods import Method, build
from niwaki.recipes import aims
from niwaki.recipes.borrowed import importing_from
from niwaki.recipes.checks import listed
from niwaki.recipes.schema import Measure, MethodChoice
from niwaki.recipes.timing import latencies
from niwaki.report import Latency, Report
from niwaki.report.schema import DENSE
from niwaki.surgery.store import load
from niwaki.sweeps.base import Base
from niwaki.sweeps.ledger import read_json, write_json
from niwaki.sweeps.names import digest

FILE, ONNX = "latency.json", "model.onnx"
_MAKING = ("model.safetensors", "plan.json", "packing.json")
Times = dict[str, dict[str, tuple[Latency, ...]]]
"""By trial and entry; those of a dense network, by the name of its file, have the entry "dense"."""


def time_all(bases: Mapping[str, Base], folders: Mapping[str, Path], reports: Mapping[str, Report], out: Path) -> Times:
    """Times of the networks of these trials, by name; those that were taken before if nothing has changed since: no
    network, nor how it is timed, nor the machine, PyTorch or a runtime."""
    plans = {str(base.recipe.measure.to_json()) for base in bases.values()}
    plans |= {str(aim) for one in reports.values() for aim in map(aims.aim_of, _methods(one)) if aim is not None}
    starts = {name: [bases[name].weights, bases[name].note.stem] for name in reports}
    files = {name: {e: _content(folders[name] / e) for e in _pruned(one)} for name, one in reports.items()}
    asked = digest([sorted(plans), starts, files, _here()])
    kept = read_json(out / FILE)
    if kept is not None and kept.get("asked") == asked:
        return _read(kept["times"])
    found: Times = {}
    for base in dict.fromkeys(bases[name] for name in reports):
        names = [name for name in reports if bases[name] is base]
        with importing_from(base.recipe.folder):
            found |= _of(base, names, folders, reports, out)
    told = {run: {entry: [t.to_json() for t in times] for entry, times in each.items()} for run, each in found.items()}
    write_json(out / FILE, {"asked": asked, "times": told})
    return found


def _here() -> list[str]:
    """On what is timed: the processor, the GPUs, and the version of each runtime."""
    gpus = [torch.device("cuda", k) for k in range(torch.cuda.device_count())]
    versions = (f"{name} {hardware.version(name)}" for name in ("pytorch", "onnxruntime", "openvino"))
    return [hardware.processor(), *map(hardware.named, gpus), *versions]


def _of(
    base: Base, names: Sequence[str], folders: Mapping[str, Path], reports: Mapping[str, Report], out: Path
) -> Times:
    """Of one dense network and all that was made of it."""
    asked, methods = base.recipe.measure, [method for name in names for method in _methods(reports[name])]
    if not asked.runs or not (asked.runtimes or any(map(aims.aim_of, methods))):
        return {}
    dense, inputs = base.build()
    dense.eval()
    plan = aims.timed(asked, methods, batch_size(inputs))
    pairs = [(name, entry) for name in names for entry in _pruned(reports[name])]
    models = {"": dense} | {f"{run}/{entry}": load(folders[run] / entry, dense).eval() for run, entry in pairs}
    files: dict[str, Path] = {}
    if "onnxruntime" in plan.runtimes:
        files = _onnx_files(asked, {f"{run}/{entry}": folders[run] / entry / ONNX for run, entry in pairs})
        with evaluating(dense):
            files[""] = export.onnx(dense, inputs, out / f"{base.file.stem}.onnx")
    timed = latencies(plan, models, files, inputs)
    found: Times = {base.note.stem: {DENSE: timed[""]}}
    for run, entry in pairs:
        found.setdefault(run, {})[entry] = timed[f"{run}/{entry}"]
    return found


def _onnx_files(asked: Measure, files: dict[str, Path]) -> dict[str, Path]:
    """All of them, if the recipe asks for times in ONNX Runtime; or else those of trials that have one, for a target
    that is to be met there."""
    if "onnxruntime" in asked.runtimes:
        return files
    return {name: path for name, path in files.items() if path.is_file()}


def _methods(report: Report) -> list[Method]:
    """Those of a trial, as its report tells them."""
    choices = [MethodChoice.read("method", one) for one in listed(report.settings.get("method"))]
    return [build(choice.name, choice.settings) for choice in choices]


def _pruned(report: Report) -> list[str]:
    return [entry.name for entry in report.entries if entry.name != DENSE]


def _content(folder: Path) -> list[str]:
    """Digests of what makes the network of a folder: its weights, and how they are laid out."""
    return [of_file(folder / name) for name in _MAKING if (folder / name).is_file()]


def _read(times: Mapping[str, Mapping[str, Sequence[object]]]) -> Times:
    return {run: {e: tuple(map(Latency.from_json, ts)) for e, ts in each.items()} for run, each in times.items()}


__all__ = ["Times", "time_all"]
