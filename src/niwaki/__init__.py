"""Niwaki prunes PyTorch networks: smaller models that are really faster, proven to be the same, with reasons given.

Names are loaded on first use, so that ``import niwaki`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from niwaki.after_import import after_import

__version__ = "0.1.0"

_HOME = {
    "trace": "niwaki.tracing:trace",
    "plan": "niwaki.surgery.decide:plan",
    "make_plan": "niwaki.surgery.decide:make_plan",
    "mask": "niwaki.surgery.masks:mask",
    "cut": "niwaki.surgery.cut:cut",
    "cut_": "niwaki.surgery.cut:cut_",
    "plan_of": "niwaki.surgery.cut:plan_of",
    "certify": "niwaki.surgery.certify:certify",
    "save": "niwaki.surgery.store:save",
    "deliver": "niwaki.artefact.deliver:deliver",
    "verify": "niwaki.artefact.verify:verify",
    "load": "niwaki.surgery.store:load",
    "Checkpoint": "niwaki.disk:Checkpoint",
    "hollow": "niwaki.disk.hollow:hollow",
    "cut_on_disk": "niwaki.surgery.on_disk:cut_on_disk",
    "pack": "niwaki.packing.whole:pack",
    "packing_of": "niwaki.packed.places:packing_of",
    "certify_packed": "niwaki.packing.certificate:certify_packed",
    "prune": "niwaki.pruning:prune",
    "cut_folder": "niwaki.folders:cut_folder",
    "Pruning": "niwaki.pruning:Pruning",
    "PruningCallback": "niwaki.train.hugging:PruningCallback",
    "LightningPruning": "niwaki.train.lightning:LightningPruning",
    "last_checkpoint": "niwaki.train.checkpoints:last_checkpoint",
    "Savepoints": "niwaki.savepoints:Savepoints",
    "accelerate_checkpoints": "niwaki.train.accelerating:accelerate_checkpoints",
    "Plan": "niwaki.units:Plan",
    "Group": "niwaki.units:Group",
    "Graph": "niwaki.graph:Graph",
    "Ranks": "niwaki.ranks:Ranks",
    "Ratio": "niwaki.targets:Ratio",
    "Macs": "niwaki.targets:Macs",
    "Params": "niwaki.targets:Params",
    "Memory": "niwaki.targets:Memory",
    "Latency": "niwaki.targets:Latency",
    "NM": "niwaki.targets:NM",
    "adapter": "niwaki.surgery.modules:adapter",
    "optimizer_rule": "niwaki.surgery.states:optimizer_rule",
    "NiwakiError": "niwaki.errors:NiwakiError",
}
_ROOMS = (
    "artefact",
    "errors",
    "export",
    "forecast",
    "graph",
    "measure",
    "methods",
    "packing",
    "pattern",
    "penalties",
    "ranks",
    "report",
    "schedules",
    "scores",
    "targets",
    "testing",
    "units",
)

__all__ = ["__version__", *sorted(_HOME), *_ROOMS]  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name in _HOME:
        room, _, thing = _HOME[name].partition(":")
        value = getattr(import_module(room), thing)
    elif name in _ROOMS:
        value = import_module(f"niwaki.{name}")
    else:
        from niwaki.errors import nearest

        raise AttributeError(f"niwaki has no {name!r}{nearest(name, [*_HOME, *_ROOMS])}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_ROOMS])


def _register() -> None:
    """Let ``from_pretrained`` of transformers load models whose layers were cut to different sizes."""
    import_module("niwaki.surgery.hugging.quantizer").register()


after_import("transformers.quantizers.auto", _register)
