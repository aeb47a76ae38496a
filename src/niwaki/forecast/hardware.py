"""Where a model is to serve: the runtime with its version, the device, the threads. Times of one such place are worth
nothing in another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.measure.hardware import named, version


@dataclass(frozen=True)
class Place:
    """A runtime on a device. ``device`` and ``dtype`` are those of the model; the runtimes outside PyTorch compute on
    the CPU, in float32."""

    runtime: str
    threads: int
    device: torch.device
    dtype: torch.dtype

    @staticmethod
    def of(model: nn.Module, runtime: str, threads: int) -> Place:
        first = next((p for p in model.parameters() if p.is_floating_point()), None)
        here = runtime in ("pytorch", "compile") and first is not None
        device = first.device if here and first is not None else torch.device("cpu")
        if device.type == "meta":
            raise BadInput("a model on the meta device computes nothing that could be timed: give it memory first")
        return Place(runtime, threads, device, first.dtype if here and first is not None else torch.float32)

    def to_json(self) -> dict[str, str | int]:
        """All that times depend on. Layers of compiled networks are timed as PyTorch's; OpenVINO's count their own
        time."""
        precision = torch.get_float32_matmul_precision()
        return {
            **({"products": precision} if precision != "highest" and self.runtime in ("pytorch", "compile") else {}),
            **({"times": "of kernels"} if self.runtime == "openvino" else {}),
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


__all__ = ["Place"]
