"""OpenVINO's own form, and OpenVINO as a callable that can be certified and timed like the model itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from niwaki.errors import BadInput, require_extra
from niwaki.export.portability import portable_told, varying
from niwaki.graph.observe import Inputs, call_arguments, evaluating


def openvino(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str], *, dynamic_batch: bool = False) -> Path:
    """Write ``model`` (in eval mode) as OpenVINO's intermediate representation: ``path``, which ends in .xml, and the
    weights in a file .bin beside it, in the precision of the model.

    Args:
        inputs: as for :func:`niwaki.trace`. dynamic_batch: let dimension 0 of every input vary.

    Raises:
        BadInput: the path ends otherwise, or inputs with names are to vary. MissingExtra: OpenVINO is not installed.
    """
    ov, path = _openvino(), Path(path)
    if path.suffix != ".xml":
        raise BadInput(f"OpenVINO's files end in .xml, with a .bin beside it; name {path.with_suffix('.xml')}")
    path.parent.mkdir(parents=True, exist_ok=True)
    args, kwargs = call_arguments(inputs)
    shapes = varying(args, kwargs) if dynamic_batch else None
    model = portable_told(model, "OpenVINO")
    with evaluating(model), torch.no_grad():
        program = torch.export.export(model, args, kwargs or None, dynamic_shapes=shapes)
        made = ov.convert_model(program)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as room:
        ov.save_model(made, Path(room) / path.name, compress_to_fp16=False)
        for ending in (".bin", ".xml"):  # the .xml last: who finds it finds its weights
            os.replace(Path(room) / path.with_suffix(ending).name, path.with_suffix(ending))
    return path


def openvino_session(path: str | os.PathLike[str], *, threads: int = 1) -> Callable[..., tuple[Tensor, ...]]:
    """OpenVINO on the CPU as a function of the model's tensors (positional, in their order), giving tensors.

    It computes in float32, also where the processor would be faster in bfloat16, so that runtimes can be compared.

    Raises:
        MissingExtra: OpenVINO is not installed. BadInput: there is no such file.
    """
    ov = _openvino()
    if not Path(path).is_file():
        raise BadInput(f"no file of OpenVINO at {path}")
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(Path(path), "CPU", settings)

    def run(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        found = compiled([t.detach().cpu().numpy() for t in tensors])
        return tuple(torch.from_numpy(found[k].copy()) for k in range(len(compiled.outputs)))

    return run


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise require_extra("openvino", "openvino") from None
    return openvino
