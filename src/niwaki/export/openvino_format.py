"""OpenVINO's own form, and OpenVINO as a callable that can be certified and timed like the model itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, BrokenFile, require_extra
from niwaki.export.capture import Captured, capture_tensors
from niwaki.export.portability import arrays, in_order, portable_told, refuse_bfloat16, without_notes
from niwaki.export.varying import Dynamic
from niwaki.graph.observe import Inputs
from niwaki.replacing import made, told
from niwaki.wrappers import unwrapped


def openvino(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str], *, dynamic: Dynamic = False) -> Path:
    """Write ``model`` (in eval mode) as OpenVINO's intermediate representation: ``path``, which ends in .xml, and the
    weights in a file .bin beside it, in the precision of the model. Inputs have the names of the model's parameters.

    Args:
        inputs: as for :func:`niwaki.trace`. dynamic: which sizes may vary, as for :func:`onnx`.

    Raises:
        BadInput: the path ends otherwise, a size cannot vary, or OpenVINO cannot take the model.
        MissingExtra: OpenVINO is not installed.
    """
    ov, path = _openvino(), Path(path)
    if path.suffix != ".xml":
        raise BadInput(f"OpenVINO's files end in .xml, with a .bin beside it; name {path.with_suffix('.xml')}")
    model = unwrapped(model, "what is exported")
    refuse_bfloat16(model, "which OpenVINO gives back as another type")
    model = portable_told(model, "OpenVINO")
    found = capture_tensors(model, inputs, dynamic, "OpenVINO")
    converted = _converted(ov, type(model).__name__, found)
    made(path.parent)
    with told(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as room:
        ov.save_model(converted, Path(room) / path.name, compress_to_fp16=False)
        for ending in (".bin", ".xml"):  # the .xml last: who finds it finds its weights
            os.replace(Path(room) / path.with_suffix(ending).name, path.with_suffix(ending))
    return path


def _converted(ov: Any, model: str, found: Captured) -> Any:
    try:
        with torch.no_grad(), without_notes():
            made = ov.convert_model(found.program)
    except Exception as trouble:  # whatever the converter cannot take
        said = " ".join(str(trouble).split())[:300]
        raise BadInput(f"{model} cannot be written for OpenVINO: {said}") from trouble
    for port, name in zip(made.inputs, found.names, strict=True):
        port.get_tensor().set_names({name})
    return made


def openvino_session(path: str | os.PathLike[str], *, threads: int = 1) -> Callable[..., tuple[Tensor, ...]]:
    """OpenVINO on the CPU as a function of the model's arguments, giving tensors. Arguments by name are fed by name,
    or, where the file knows none of the names, like positional ones in their order; such as are no tensors are part of
    the file.

    It computes in float32, also where the processor would be faster in bfloat16, so that runtimes can be compared.

    Raises:
        MissingExtra: OpenVINO is not installed. BadInput: there is no such file. BrokenFile: it cannot be run.
    """
    _openvino()
    if not Path(path).is_file():
        raise BadInput(f"no file of OpenVINO at {path}")
    ready = compiled(Path(path), threads=threads)
    names = [min(port.names, default="") for port in ready.inputs]

    def run(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        found = ready(arrays(in_order(names, args, kwargs)))
        return tuple(torch.from_numpy(found[k].copy()) for k in range(len(ready.outputs)))

    return run


def compiled(model: Path | bytes, *, threads: int, counting: bool = False) -> Any:
    """A file, or the bytes of an ONNX file, as OpenVINO's own compiled model: called with a list of arrays.

    ``counting``: it counts the time of each of its operations.
    """
    core = _openvino().Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    settings |= {"PERF_COUNT": True} if counting else {}
    try:
        return core.compile_model(core.read_model(model), "CPU", settings)
    except Exception as trouble:  # a RuntimeError, mostly
        said = " ".join(str(trouble).split())[:300]
        raise BrokenFile(
            f"{model if isinstance(model, Path) else 'a model'} cannot be run in OpenVINO: {said}"
        ) from trouble


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise require_extra("openvino", "openvino") from None
    return openvino
