"""Models without values: of sizes that no memory holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


def hollow(build: Callable[[], nn.Module]) -> nn.Module:
    """What ``build`` builds, in eval mode, without memory for its weights.

    Whatever is made empty, or drawn at random, is on the meta device. Tables that are computed (of positions, of
    frequencies) are real, unlike under ``torch.device("meta")``: they are small, and in no checkpoint.
    """
    with Hollow():
        return build().eval()


class Hollow(TorchFunctionMode):
    """Weights are made empty, or random; tables of positions and frequencies are computed. Only the latter are real."""

    made = (torch.empty, torch.randn, torch.rand, torch.normal)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.made and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


__all__ = ["Hollow", "hollow"]
