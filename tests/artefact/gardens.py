"""Delivered folders, tiny, and the dense models that they were made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

import niwaki as nk
from niwaki.testing.families import family
from niwaki.testing.zoo import specimen

NAMES = ("vgg_flatten", "tied_embedding", "chunk_halves")
HUGGING = "llama"


def grown(name: str) -> nn.Module:
    """The dense model: of the zoo, or of a family of transformers."""
    torch.manual_seed(0)
    return (family(name) if name == HUGGING else specimen(name)).build()


def inputs_of(name: str) -> Any:
    return (family(name) if name == HUGGING else specimen(name)).inputs()


def cut(name: str) -> tuple[nn.Module, nn.Module, Any]:
    """Dense, small, inputs."""
    dense, inputs = grown(name).eval(), inputs_of(name)
    graph = nk.trace(dense, inputs, prove=False)
    groups = [g for g in graph.groups if g.kind == "neuron"] if name == HUGGING else None
    return dense, nk.cut(dense, nk.plan(graph, nk.scores.L1(), nk.Ratio(0.4), groups=groups)), inputs


def delivered(name: str, folder: Path, **more: Any) -> Path:
    dense, small, inputs = cut(name)
    return nk.deliver(small, folder, inputs=inputs, dense=dense, **more)


def stamp_again(folder: Path, *names: str) -> None:
    """Make the hashes fit what the files hold now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in names:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    path.write_text(json.dumps(manifest))
