"""OpenVINO's own form, and OpenVINO as a callable that can be certified and timed like the model itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from niwaki.errors import BadInput, require_extra
from niwaki.export.portability import arrays, in_order, portable_told, varying, without_notes
from niwaki.graph.observe import Inputs, call_arguments, evaluating, tensors_of
from niwaki.modes import cacheless


def openvino(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str], *, dynamic_batch: bool = False) -> Path:
    """Write ``model`` (in eval mode) as OpenVINO's intermediate representation: ``path``, which ends in .xml, and the
    weights in a file .bin beside it, in the precision of the model.

    Args:
        inputs: as for :func:`niwaki.trace`. dynamic_batch: let dimension 0 of every input vary.

    Raises:
        BadInput: the path ends otherwise, inputs with names are to vary, or OpenVINO cannot take the model.
        MissingExtra: OpenVINO is not installed.
    """
    ov, path = _openvino(), Path(path)
    if path.suffix != ".xml":
        raise BadInput(f"OpenVINO's files end in .xml, with a .bin beside it; name {path.with_suffix('.xml')}")
    path.parent.mkdir(parents=True, exist_ok=True)
    args, kwargs = call_arguments(inputs)
    shapes = varying(args, kwargs) if dynamic_batch else None
    model = portable_told(model, "OpenVINO")
    with evaluating(model), cacheless(model), torch.no_grad(), without_notes():
        made = _converted(ov, model, args, kwargs, shapes)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as room:
        ov.save_model(made, Path(room) / path.name, compress_to_fp16=False)
        for ending in (".bin", ".xml"):  # the .xml last: who finds it finds its weights
            os.replace(Path(room) / path.with_suffix(ending).name, path.with_suffix(ending))
    return path


def _converted(ov: Any, model: nn.Module, args: Any, kwargs: Any, shapes: Sequence[Any] | None) -> Any:
    bound = _Bound(model, args, kwargs)
    varied = None if shapes is None else (tuple(s for s in shapes if s is not None),)
    try:
        return ov.convert_model(torch.export.export(bound, tuple(bound.tensors), dynamic_shapes=varied))
    except Exception as trouble:  # whatever the exporter or the converter cannot take
        said = " ".join(str(trouble).split())[:300]
        raise BadInput(f"{type(model).__name__} cannot be written for OpenVINO: {said}") from trouble


class _Bound(nn.Module):
    """A model of tensors alone: other arguments are part of it, and of its outputs caches are left out."""

    def __init__(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        super().__init__()
        self.model = model
        self._leaves, self._form = tree_flatten((args, kwargs))
        self.tensors = [leaf for leaf in self._leaves if isinstance(leaf, Tensor)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        left = iter(tensors)
        leaves = [next(left) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        args, kwargs = tree_unflatten(leaves, self._form)
        return tuple(tensors_of(self.model(*args, **kwargs), caches=False))


def openvino_session(path: str | os.PathLike[str], *, threads: int = 1) -> Callable[..., tuple[Tensor, ...]]:
    """OpenVINO on the CPU as a function of the model's arguments, giving tensors. Arguments by name are fed by name if
    the file knows all of these, and else, like positional ones, in their order; such as are no tensors are part of the
    file.

    It computes in float32, also where the processor would be faster in bfloat16, so that runtimes can be compared.

    Raises:
        MissingExtra: OpenVINO is not installed. BadInput: there is no such file.
    """
    _openvino()
    if not Path(path).is_file():
        raise BadInput(f"no file of OpenVINO at {path}")
    ready = compiled(Path(path), threads=threads)
    names = [next(iter(sorted(port.names)), "") for port in ready.inputs]

    def run(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        found = ready(arrays(in_order(names, args, kwargs)))
        return tuple(torch.from_numpy(found[k].copy()) for k in range(len(ready.outputs)))

    return run


def compiled(model: Path | bytes, *, threads: int) -> Any:
    """A file, or the bytes of an ONNX file, as OpenVINO's own compiled model: called with a list of arrays."""
    core = _openvino().Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(core.read_model(model), "CPU", settings)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise require_extra("openvino", "openvino") from None
    return openvino
