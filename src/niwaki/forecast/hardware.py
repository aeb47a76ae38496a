"""Where a model is to serve: the runtime with its version, the device, the threads. Times of one such place are worth
nothing in another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.measure.hardware import named, version


@dataclass(frozen=True)
class Place:
    """A runtime on a device. ``device``, ``dtype`` and layout are those of the model; the runtimes outside PyTorch
    compute on the CPU, in float32, and lay out as they like."""

    runtime: str
    threads: int
    device: torch.device
    dtype: torch.dtype
    channels_last: bool = False

    @staticmethod
    def of(model: nn.Module, runtime: str, threads: int) -> Place:
        first = next((p for p in model.parameters() if p.is_floating_point()), None)
        if first is not None and first.is_meta:
            raise BadInput("a model on the meta device computes nothing that could be timed: give it memory first")
        if first is None or runtime not in ("pytorch", "compile"):
            return Place(runtime, threads, torch.device("cpu"), torch.float32)
        return Place(runtime, threads, first.device, first.dtype, any(map(_is_channels_last, model.parameters())))

    def to_json(self) -> dict[str, str | int]:
        """All that times depend on. Layers of compiled networks are timed as PyTorch's; OpenVINO's count their own
        time."""
        precision = torch.get_float32_matmul_precision()
        return {
            **({"products": precision} if precision != "highest" and self.runtime in ("pytorch", "compile") else {}),
            **({"times": "of kernels"} if self.runtime == "openvino" else {}),
            **({"layout": "channels last"} if self.channels_last else {}),
            "runtime": "pytorch" if self.runtime == "compile" else self.runtime,
            "version": version(self.runtime),
            "threads": self.threads,
            "device": named(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    @property
    def name(self) -> str:
        """A file's name."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"{self.to_json()['runtime']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def _is_channels_last(t: Tensor) -> bool:
    """Of a convolution, and laid out so (of one channel or one tap, both layouts are the same)."""
    return t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()


__all__ = ["Place"]
