"""Where something was made: versions, processor, date."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from niwaki import __version__
from niwaki.measure.hardware import processor

_PACKAGES = ("torch", "numpy", "safetensors", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino")


def machine() -> dict[str, Any]:
    """The hardware: ``processor``, ``cores`` (logical ones), ``system``, and ``gpu`` if there is one."""
    found = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()}
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def surroundings() -> dict[str, Any]:
    """The machine, the versions of the packages that are installed, and the time in UTC."""
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return {"created": created, "machine": machine(), "versions": _versions()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "niwaki": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch": torch.__version__}


__all__ = ["machine", "surroundings"]
