"""torch.export: a program that runs without the model's Python code."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from niwaki.graph.observe import Inputs, call_arguments, evaluating


def torch_export(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str]) -> Path:
    """Write ``model`` (in eval mode) as a ``.pt2`` program; read it with ``torch.export.load``."""
    args, kwargs = call_arguments(inputs)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with evaluating(model), torch.no_grad():
        program = torch.export.export(model, args, kwargs or None)
    torch.export.save(program, str(path))
    return path
