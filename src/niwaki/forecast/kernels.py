"""One layer alone, as a call that can be timed, in every runtime."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from niwaki.errors import require_extra
from niwaki.export.onnx_format import loaded as onnx_loaded
from niwaki.export.openvino_format import compiled as openvino_compiled
from niwaki.forecast.counted import Counted
from niwaki.forecast.hardware import Place
from niwaki.graph.work import Convolution, Linear, Task
from niwaki.measure.hardware import synchronize

_SLIDES: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_SPREADS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def kernel(task: Task, place: Place) -> Callable[[], Any]:
    """A call without arguments that computes ``task`` once, on random numbers (the same everywhere), where ``place``
    says; it gives the result as the first of a sequence.

    Compiled PyTorch computes products with the same kernels as PyTorch does, and stands for itself there.
    """
    x, weight, bias = _tensors(task)
    if place.runtime in ("pytorch", "compile"):
        return _torch(task, *(None if t is None else _placed(t, place) for t in (x, weight, bias)))
    model = _onnx_model(task, x, weight, bias)
    return _onnxruntime(model, x, place) if place.runtime == "onnxruntime" else _openvino(model, x, place)


def _tensors(task: Task) -> tuple[Tensor, Tensor, Tensor | None]:
    form, generator = task.form, torch.Generator().manual_seed(0)
    if isinstance(form, Linear):
        shapes: list[tuple[int, ...]] = [(form.rows, task.taken), (task.made, task.taken)]
    else:
        sides = (task.taken, task.made) if form.extra is not None else (task.made, task.taken)
        shapes = [(form.batch, task.source, *form.size), (*sides, *form.kernel)]
    made = [torch.randn(shape, generator=generator) for shape in (*shapes, (task.made,))]
    return made[0], made[1], made[2] if form.bias else None


def _placed(t: Tensor, place: Place) -> Tensor:
    t = t.to(place.device, place.dtype)
    return t.contiguous(memory_format=torch.channels_last) if place.channels_last and t.dim() == 4 else t


def _torch(task: Task, x: Any, weight: Any, bias: Any) -> Callable[[], Any]:
    form = task.form
    if isinstance(form, Linear):
        compute: Callable[[], Tensor] = lambda: functional.linear(x, weight, bias)  # noqa: E731
    elif form.extra is None:
        slide = _SLIDES[len(form.kernel)]
        compute = lambda: slide(x, weight, bias, form.stride, form.padding, form.dilation, task.groups)  # noqa: E731
    else:
        spread = _SPREADS[len(form.kernel)]
        compute = lambda: spread(  # noqa: E731
            x, weight, bias, form.stride, form.padding, form.extra, task.groups, form.dilation
        )

    def run() -> tuple[Tensor, ...]:
        with torch.inference_mode():
            found = compute()
        synchronize(x.device)
        return (found,)

    return run


def _onnx_model(task: Task, x: Tensor, weight: Tensor, bias: Tensor | None) -> bytes:
    """The smallest ONNX model with this layer in it, as the bytes of its file."""
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise require_extra("onnx", "onnx") from None
    linear = isinstance(task.form, Linear)
    constants = [numpy_helper.from_array((weight.T.contiguous() if linear else weight).numpy(), "w")]
    if bias is not None:
        constants.append(numpy_helper.from_array(bias.numpy(), "b"))
    named = ["x", *(c.name for c in constants)]
    if isinstance(task.form, Linear):
        nodes = [helper.make_node("Gemm" if bias is not None else "MatMul", named, ["y"])]
        result = [task.form.rows, task.made]
    else:
        kind = "Conv" if task.form.extra is None else "ConvTranspose"
        nodes = [helper.make_node(kind, named, ["y"], **_attributes(task.form, task.groups))]
        result = [task.form.batch, task.made, *task.form.result]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _attributes(form: Convolution, groups: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kernel_shape": list(form.kernel),
        "strides": list(form.stride),
        "dilations": list(form.dilation),
        "group": groups,
        "pads": _pads(form),
    }
    return found if form.extra is None else {**found, "output_padding": list(form.extra)}


def _pads(form: Convolution) -> list[int]:
    """Begins, then ends, as ONNX writes them."""
    if form.padding == "valid":
        return [0] * (2 * len(form.kernel))
    if form.padding == "same":
        whole = [d * (k - 1) for d, k in zip(form.dilation, form.kernel, strict=True)]
        return [n // 2 for n in whole] + [math.ceil(n / 2) for n in whole]
    return [*form.padding, *form.padding]


def _onnxruntime(model: bytes, x: Tensor, place: Place) -> Callable[[], Any]:
    session = onnx_loaded(model, threads=place.threads)
    feed = {"x": x.numpy()}
    return lambda: session.run(None, feed)


def _openvino(model: bytes, x: Tensor, place: Place) -> Callable[[], Any]:
    return Counted(openvino_compiled(model, threads=place.threads, counting=True), x.numpy())


__all__ = ["kernel"]
