"""From a folder of Hugging Face's to a smaller one, whatever its size: nothing is held but a tensor and a shard."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.disk import Checkpoint
from niwaki.disk.hollow import hollow
from niwaki.errors import BadInput, UntraceableModel
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.replacing import made, replacing
from niwaki.scores import Score
from niwaki.surgery.decide import plan as decide
from niwaki.surgery.hugging.stock import stock_class, without_code
from niwaki.surgery.on_disk import SHARD, cut_on_disk
from niwaki.targets import Target
from niwaki.tracing import trace
from niwaki.units import Plan

_BESIDE = (".json", ".txt", ".model", ".spm", ".bpe", ".codes", ".tiktoken", ".jinja")
_GENERATION = "generation_config.json"
_TEMPLATES = "additional_chat_templates"
_OURS = {"config.json", _GENERATION, "model.safetensors.index.json", "plan.json", "modules.json", "packing.json"}
_OURS |= {"manifest.json", "certificate.json", "verdict.json", "examples.json", "measurements.json", "environment.json"}
"""Written anew, or papers of another model: of the one that is cut."""
_PIXELS = "pixel_values"
Tick = Callable[[str], None]


def cut_folder(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    target: Target,
    *,
    score: Score | None = None,
    inputs: Inputs | None = None,
    groups: Sequence[str] | None = None,
    shard_bytes: int = SHARD,
    tick: Tick = lambda said: None,
) -> Plan:
    """Prune a model from disk to disk, by its weights alone: traced without values, scored and cut tensor by tensor.

    For models that do not fit into memory, and as a start for those that will be tuned afterwards. In memory there are
    at most one tensor that is read (its values twice in float32, or 256 MiB of them where it is larger) and one shard.

    Args:
        source: a folder with config.json and weights in safetensors, in one file or in shards. No code in it is run.
        out: the new folder; tokenizers and other small files of ``source`` are copied to it.
        target, score: as for :func:`niwaki.plan`.
        groups: names of the groups that give units. None: all but dimensions inside heads, since no config can say
            which rotary frequencies are left.
        inputs: for tracing, as for :func:`niwaki.trace`. None: one picture of the config's size if the class takes
            pictures, else its own ``dummy_inputs``.
        shard_bytes: what a new file of weights holds at most.
        tick: called with the name of each tensor that was written.

    Returns:
        The plan, which is also in ``out``.

    Raises:
        BadInput: the folder cannot be used, its weights are not under the names of its class, or that cannot be called
            without ``inputs``. UntraceableModel: it cannot be called with them.
        UnreachableTarget, NothingToPrune: as :func:`niwaki.plan`.
    """
    source, out = Path(source), Path(out)
    model = model_without_values(source)
    _generates_as(source, model)
    weights = Checkpoint(source)
    graph = _traced(model, inputs)
    names = [g.name for g in graph.groups if g.kind != "head_dim"] if groups is None else groups
    plan = decide(graph, score, target, names, weights=weights)
    cut_on_disk(model, plan, weights, out, shard_bytes=shard_bytes, tick=tick)
    _copy_beside(source, out)
    return plan


def _copy_beside(source: Path, out: Path) -> None:
    """Tokenizers, templates of chats and what else is small and goes with any weights."""
    files = [file for file in sorted(source.iterdir()) if file.suffix in _BESIDE and file.name not in _OURS]
    for file in [*files, *sorted((source / _TEMPLATES).glob("*.jinja"))]:
        if file.is_file():
            copy = out / file.relative_to(source)
            made(copy.parent)
            with replacing(copy) as part:
                shutil.copyfile(file, part)


def model_without_values(folder: Path) -> nn.Module:
    """The model that a folder's config.json tells of, hollow.

    Raises:
        BadInput: there is none, or it names no class of transformers. MissingExtra: transformers is not installed.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise BadInput(f"{folder} has no config.json; a folder of a Hugging Face model is wanted")
    try:
        config: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as trouble:
        raise BadInput(f"{path} is not the JSON of a config: {trouble}") from trouble
    names = list(config.get("architectures") or ())
    kind = stock_class(names[0]) if names else None
    if kind is None:
        raise BadInput(f"{path} names {names or 'no class'}, and transformers has no such model")
    return hollow(lambda: kind(kind.config_class.from_dict(without_code(config))))


def _generates_as(folder: Path, model: Any) -> None:
    """Keep how the model generates: its ends, its temperature, … which config.json need not tell."""
    path = folder / _GENERATION
    if path.is_file() and getattr(model, "generation_config", None) is not None:
        try:
            model.generation_config = type(model.generation_config).from_dict(json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError, RecursionError) as trouble:
            raise BadInput(f"{path} does not say how the model generates: {trouble}") from trouble


def _traced(model: nn.Module, inputs: Inputs | None) -> Graph:
    if inputs is not None:
        return trace(model, inputs)
    example = _example(model)
    try:
        return trace(model, example)
    except UntraceableModel as trouble:
        raise BadInput(
            f"{type(model).__name__} cannot be called with what was made up for it ({', '.join(example)}): give "
            f"inputs. {trouble}"
        ) from trouble


def _example(model: nn.Module) -> dict[str, Tensor]:
    """What the class is called with. Every class of transformers says token ids; one of pictures does not mean it."""
    if getattr(model, "main_input_name", None) == _PIXELS and hasattr(model.config, "image_size"):
        config: Any = model.config
        height, width = config.image_size if isinstance(config.image_size, (list, tuple)) else [config.image_size] * 2
        return {_PIXELS: torch.zeros(1, getattr(config, "num_channels", 3), height, width)}
    found = getattr(model, "dummy_inputs", None)
    if not isinstance(found, Mapping):
        raise BadInput(f"{type(model).__name__} does not say what it is called with: give inputs")
    return {name: torch.as_tensor(value) for name, value in found.items()}


__all__ = ["cut_folder", "model_without_values"]
