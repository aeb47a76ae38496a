"""Where a model runs: PyTorch as it is or compiled, ONNX Runtime, OpenVINO; each as a call that can be timed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from niwaki import export
from niwaki.errors import BadInput, nearest
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments
from niwaki.measure.hardware import synchronize

RUNTIMES = {
    "pytorch": "PyTorch",
    "compile": "PyTorch, compiled",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
"""Names, and what they are called in tables."""


_MANY = 100_000


@dataclass(frozen=True)
class Ready:
    """A model that is ready to be called on its inputs.

    Attributes:
        call: one pass. seconds: what it took to make ready: to export and to compile, with a first call; 0 for PyTorch
            as it is. prepare: what must be done before each call and is no part of it: a cache of keys and values among
            the inputs is one longer after each.
    """

    call: Callable[[], Any]
    seconds: float
    prepare: Callable[[], None] = lambda: None

    def __call__(self) -> Any:
        return self.call()


def ready(model: nn.Module, inputs: Inputs, runtime: str = "pytorch", *, threads: int = 1) -> Ready:
    """Make a model in eval mode ready to run.

    Args:
        runtime: of ``RUNTIMES``. ``"pytorch"`` and ``"compile"`` run where the model is, the others on the CPU.
        threads: of ONNX Runtime and OpenVINO; those of PyTorch are the process's.

    Raises:
        BadInput: no such runtime. MissingExtra: it is not installed.
    """
    require(runtime)
    if runtime == "pytorch":
        return _torch(model, inputs)
    start = time.perf_counter()
    made = _torch(_compiled(model), inputs) if runtime == "compile" else _session(model, inputs, runtime, threads)
    with _patient() if runtime == "compile" else nullcontext():
        made()
    return replace(made, seconds=time.perf_counter() - start)


def require(runtime: str) -> None:
    """Raise :class:`BadInput` if there is no such runtime."""
    if runtime not in RUNTIMES:
        raise BadInput(
            f"no runtime is called {runtime!r}{nearest(runtime, RUNTIMES) or '.'} Known: {', '.join(RUNTIMES)}."
        )


def _compiled(model: nn.Module) -> nn.Module:
    # A copy, since what is compiled for one shape stays with the module.
    found: Any = torch.compile(duplicate(model).eval(), dynamic=False)
    return found


def _torch(model: nn.Module, inputs: Inputs) -> Ready:
    args, kwargs = call_arguments(inputs)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def prepare() -> None:
        nonlocal args, kwargs
        args, kwargs = call_arguments(inputs)
        synchronize(device)

    def run() -> None:
        with torch.no_grad():  # what the model keeps of a call may be trained with afterwards
            model(*args, **kwargs)
        synchronize(device)

    return Ready(run, 0.0, prepare)


def _session(model: nn.Module, inputs: Inputs, runtime: str, threads: int) -> Ready:
    args, kwargs = call_arguments(inputs)
    tensors = [t.detach().cpu() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]  # not in what is timed
    with tempfile.TemporaryDirectory(prefix="niwaki-") as room:
        if runtime == "onnxruntime":
            session = export.onnx_session(export.onnx(model, inputs, Path(room) / "model.onnx"), threads=threads)
        else:
            session = export.openvino_session(export.openvino(model, inputs, Path(room) / "model.xml"), threads=threads)
    return Ready(lambda: session(*tensors), 0.0)


def _patient() -> Any:
    """Dynamo falls back to plain PyTorch, silently, for the ninth network of a class: here it compiles each."""
    from torch._dynamo import config

    old = {"cache_size_limit": _MANY, "accumulated_cache_size_limit": _MANY, "fail_on_cache_limit_hit": True}
    new = {"recompile_limit": _MANY, "accumulated_recompile_limit": _MANY, "fail_on_recompile_limit_hit": True}
    return config.patch(new if hasattr(config, "recompile_limit") else old)


__all__ = ["RUNTIMES", "Ready", "ready", "require"]
