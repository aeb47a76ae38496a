"""The formats, what writes them, and which packages they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import niwaki as nk

FORMATS = {
    "onnx": (nk.export.onnx, "small.onnx", ("onnx", "onnxscript", "onnxruntime")),
    "torch_export": (nk.export.torch_export, "small.pt2", ()),
    "openvino": (nk.export.openvino, "small.xml", ("openvino",)),
}


def written(form: str, model: nn.Module, inputs: Any, folder: Path, **options: Any) -> Path:
    """The model in a format; the test is skipped where its packages are not installed."""
    write, name, packages = FORMATS[form]
    for package in packages:
        pytest.importorskip(package)
    return write(model, inputs, folder / name, **options)
