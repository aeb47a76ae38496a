"""ONNX, and ONNX Runtime as a callable that can be certified and timed like the model itself."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, require_extra
from niwaki.export.portability import arrays, in_order, portable_told, varying, without_notes
from niwaki.graph.observe import Inputs, call_arguments, evaluating
from niwaki.replacing import replacing


def onnx(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str], *, dynamic_batch: bool = False) -> Path:
    """Write ``model`` (in eval mode) as one ONNX file.

    ONNX knows no product with single entries. Packed layers that have such are written as rows × columns, or dense; the
    log (``niwaki``) names them.

    Args:
        inputs: as for :func:`niwaki.trace`. dynamic_batch: let dimension 0 of every input vary.

    Raises:
        MissingExtra: the packages of the extra ``onnx`` are not installed.
    """
    try:
        import onnx as _  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as missing:
        raise require_extra(f"{missing.name}", "onnx") from None
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    args, kwargs = call_arguments(inputs)
    options: dict[str, Any] = {"dynamic_shapes": varying(args, kwargs)} if dynamic_batch else {}
    model = portable_told(model, "ONNX")
    with replacing(path) as part, evaluating(model), _quiet():
        torch.onnx.export(
            model,
            args,
            str(part),
            kwargs=kwargs or None,
            dynamo=True,
            external_data=False,
            verbose=False,
            **options,
        )
    return path


def onnx_session(path: str | os.PathLike[str], *, threads: int = 1) -> Callable[..., tuple[Tensor, ...]]:
    """ONNX Runtime on the CPU as a function of the model's arguments, giving tensors. Arguments by name are fed by
    name if the file knows all of these, and else, like positional ones, in their order; such as are no tensors are part
    of the file.

    Raises:
        MissingExtra: onnxruntime is not installed. BadInput: there is no such file.
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


def loaded(model: bytes, *, threads: int) -> Any:
    """The bytes of an ONNX file as ONNX Runtime's own session, on the CPU.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    return _opened(_onnxruntime(), model, threads)


def _opened(runtime: Any, model: str | bytes, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


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
