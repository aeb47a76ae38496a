"""Pooling by windows that are larger than what they pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_MEAN = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_MOST = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_POOLS: Mapping[Callable[..., Any], tuple[int, tuple[str, ...]]] = MappingProxyType(
    {
        F.avg_pool1d: (1, _MEAN),
        F.avg_pool2d: (2, _MEAN),
        F.max_pool1d: (1, _MOST),
        F.max_pool2d: (2, _MOST),
        torch.max_pool1d: (1, _MOST),
        torch.max_pool2d: (2, _MOST),
    }
)
"""Over how many dimensions, and the order of the arguments."""


class ClippedWindows(TorchFunctionMode):
    """Inside, windows end where what they pool ends, which in PyTorch computes the same.

    With ``ceil_mode`` they may be larger, and the EfficientNets of transformers pool 7 × 7 pixels by windows of 1280 ×
    1280. OpenVINO gives an empty tensor for those, without an error. Padded and dilated windows are left as they are.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _POOLS:
            return func(*args, **kwargs)
        dims, order = _POOLS[func]
        given = {**dict(zip(order, args, strict=False)), **kwargs}
        return func(**{**given, **_clipped(given, dims)})


def _clipped(given: Mapping[str, Any], dims: int) -> dict[str, Any]:
    """The arguments that change."""
    pooled: Tensor = given["input"]
    window = _each(given["kernel_size"], dims)
    sizes = pooled.shape[-dims:]
    fits = tuple(size if isinstance(size, int) and size < k else k for size, k in zip(sizes, window, strict=True))
    plain = set(_each(given.get("padding", 0), dims)) == {0} and set(_each(given.get("dilation", 1), dims)) == {1}
    if fits == window or not plain:
        return {}
    return {"kernel_size": fits, "stride": _each(given.get("stride") or window, dims)}


def _each(value: Any, dims: int) -> tuple[int, ...]:
    """One number for each dimension."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return found * dims if len(found) == 1 else found


__all__ = ["ClippedWindows"]
