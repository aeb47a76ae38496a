"""On what was measured: the device, and the runtime with its version."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

import torch
from torch import nn

_PACKAGE = {"pytorch": "torch", "compile": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True)
class Conditions:
    """What a time depends on. ``device``: the processor's or GPU's name. ``version``: of the runtime."""

    runtime: str
    version: str
    device: str
    threads: int

    @staticmethod
    def of(model: nn.Module, runtime: str, threads: int) -> Conditions:
        """Of a model in a runtime: those outside PyTorch compute on the CPU."""
        return Conditions(runtime, version(runtime), named(device_of(model, runtime)), threads)


def device_of(model: nn.Module, runtime: str) -> torch.device:
    """Where a model computes: PyTorch where its weights are, the other runtimes on the CPU."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None or runtime not in ("pytorch", "compile") else first.device


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # which need not be the current one
    elif device.type not in ("cpu", "meta"):
        torch.get_device_module(device).synchronize()


def version(runtime: str) -> str:
    """Of the package that a runtime is in."""
    try:
        return installed(_PACKAGE[runtime])
    except PackageNotFoundError:
        return "not installed"


def named(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor() if device.type == "cpu" else f"{device.type} on {processor()}"


def processor() -> str:
    """What the processor calls itself."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if found:
            return f"{found[0]} ({platform.machine()})"
    return platform.processor() or platform.machine()


__all__ = ["Conditions", "device_of", "named", "processor", "synchronize", "version"]
