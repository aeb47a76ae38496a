"""ONNX, and ONNX Runtime as a callable that can be certified and timed like the model itself."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, BrokenFile, require_extra
from niwaki.export.capture import Captured, capture_tensors, plain_attention
from niwaki.export.portability import arrays, in_order, portable_told, refuse_bfloat16, without_notes
from niwaki.export.varying import Dynamic
from niwaki.graph.observe import Inputs
from niwaki.replacing import made, replacing
from niwaki.replacing import told as told_of
from niwaki.wrappers import unwrapped


def onnx(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str], *, dynamic: Dynamic = False) -> Path:
    """Write ``model`` (in eval mode) as one ONNX file, whose inputs have the names of the model's parameters. Of more
    than 1.5 GB, which one file cannot hold, the weights go into a second one beside it, ``model.onnx.data``.

    ONNX knows no product with single entries. Packed layers that have such are written as rows × columns, or dense; the
    log (``niwaki``) names them. Mixtures of experts of transformers are written by batched products, which hold a
    token's experts beside each other.

    Args:
        inputs: as for :func:`niwaki.trace`.
        dynamic: which sizes may vary: ``"batch"``, ``"sequence"``, both in a tuple, ``True`` for all of these that the
            inputs have, or a mapping from inputs to dimensions to names, as ``{"x": {2: "height", 3: "width"}}``.

    Raises:
        MissingExtra: the packages of the extra ``onnx`` are not installed.
        BadInput: the model cannot be written or holds bfloat16, or a size cannot vary.
    """
    try:
        import onnx as _  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise require_extra(f"{missing.name}", "onnx") from None
    model = unwrapped(model, "what is exported")
    refuse_bfloat16(model, "for which ONNX Runtime has next to no operations on the processor")
    path, told = Path(path), portable_told(model, "ONNX")
    with _quiet():
        program = _written(told, type(model).__name__, inputs, dynamic)
        made(path.parent)
        with told_of(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as room:
            program.save(str(Path(room) / path.name), external_data=False)
            _moved(Path(room), path)
    return path


def weights_beside(path: Path) -> Path:
    """Where the weights of an ONNX file lie that is too large to hold them."""
    return path.with_name(f"{path.name}.data")


def _moved(room: Path, path: Path) -> None:
    """Let the new files take the places of older ones; the weights first: who finds the file finds them."""
    beside = weights_beside(path)
    large = (room / beside.name).is_file()
    for place in (beside, path) if large else (path,):
        with replacing(place) as part:
            os.replace(room / place.name, part)
    if not large:
        beside.unlink(missing_ok=True)


def _written(model: nn.Module, name: str, inputs: Inputs, dynamic: Dynamic) -> Any:
    """As the model computes; or, where that cannot be written and attention is by a fused kernel, by plain products."""
    try:
        return _converted(name, capture_tensors(model, inputs, dynamic, "ONNX"))
    except BadInput:
        with plain_attention(model) as fused:
            if not fused:
                raise
            return _converted(name, capture_tensors(model, inputs, dynamic, "ONNX"))


def _converted(model: str, found: Captured) -> Any:
    try:
        made: Any = torch.onnx.export(found.program, dynamo=True, input_names=list(found.names), verbose=False)
    except torch.onnx.OnnxExporterError as trouble:
        said = " ".join(str(trouble.__cause__ or trouble).split())[:300]
        raise BadInput(f"{model} cannot be written for ONNX: {said}") from trouble
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()  # paths of this machine, and most of a small file
    return made


def onnx_session(path: str | os.PathLike[str], *, threads: int = 1) -> Callable[..., tuple[Tensor, ...]]:
    """ONNX Runtime on the CPU as a function of the model's arguments, giving tensors. Arguments by name are fed by
    name, or, where the file knows none of the names, like positional ones in their order; such as are no tensors are
    part of the file.

    Raises:
        MissingExtra: onnxruntime is not installed. BadInput: there is no such file. BrokenFile: it cannot be run.
    """
    runtime = _onnxruntime()
    if not Path(path).is_file():
        raise BadInput(f"no ONNX file at {path}")
    session = _opened(runtime, str(path), threads)
    names = [i.name for i in session.get_inputs()]

    def run(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        feed = dict(zip(names, arrays(in_order(names, args, kwargs)), strict=True))
        return tuple(torch.from_numpy(a) for a in session.run(None, feed))

    return run


def onnx_weights(path: Path) -> int:
    """Bytes of the tensors in an ONNX file."""
    try:
        import onnx
    except ImportError:
        raise require_extra("onnx", "onnx") from None
    graph = onnx.load(str(path)).graph
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute if a.HasField("t")]
    return sum(len(onnx.numpy_helper.to_array(t).tobytes()) for t in [*graph.initializer, *constants])


def loaded(model: bytes, *, threads: int) -> Any:
    """The bytes of an ONNX file as ONNX Runtime's own session, on the CPU.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    return _opened(_onnxruntime(), model, threads)


def _opened(runtime: Any, model: str | bytes, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as trouble:  # of classes of its own
        said = " ".join(str(trouble).split())[:300]
        raise BrokenFile(
            f"{model if isinstance(model, str) else 'a model'} cannot be run in ONNX Runtime: {said}"
        ) from trouble


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise require_extra("onnxruntime", "onnx") from None
    return onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress and version notes are not news to our users; errors come as exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), without_notes():
            yield
    finally:
        logging.disable(level)
