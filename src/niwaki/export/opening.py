"""An exported file as a function of the model's arguments, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.export.onnx_format import onnx_session
from niwaki.export.openvino_format import openvino_session
from niwaki.export.torch_format import torch_session

FORMATS: Mapping[str, tuple[str, Callable[..., Callable[..., tuple[Tensor, ...]]]]] = MappingProxyType(
    {
        ".onnx": ("onnx", onnx_session),
        ".pt2": ("torch_export", torch_session),
        ".xml": ("openvino", openvino_session),
    }
)
"""By the ending of the file: the name of the format, and what runs it."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A file that runs: called with the model's arguments, it gives the tensors that the model returns (caches of keys
    and values left out), in their order.

    Attributes:
        path: the file. format: ``"onnx"``, ``"torch_export"`` or ``"openvino"``. run: what is called.
    """

    path: Path
    format: str
    run: Callable[..., tuple[Tensor, ...]]

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        return self.run(*args, **kwargs)

    @property
    def file_bytes(self) -> int:
        """Bytes on disk, weights beside the file included."""
        return sum(path.stat().st_size for path in files_of(self.path))


def opened(path: str | os.PathLike[str], *, threads: int = 1) -> Opened:
    """What :func:`onnx` (.onnx), :func:`torch_export` (.pt2) or :func:`openvino` (.xml) wrote, ready to be called.

    ONNX Runtime and OpenVINO compute on the CPU, in float32, with ``threads`` threads; a program of torch.export with
    as many as torch is set to.

    Raises:
        BadInput: there is no such file, or none of these endings. MissingExtra: the runtime is not installed.
        BrokenFile: the file is damaged, or holds what would have to be unpickled.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        known = ", ".join(f"{ending} ({name})" for ending, (name, _) in FORMATS.items())
        raise BadInput(f"{path.name!r} has not the ending of an exported file; known are {known}")
    name, session = FORMATS[path.suffix]
    return Opened(path, name, session(path, threads=threads))


def files_of(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files that an exported model consists of: OpenVINO's has its weights in a .bin beside the .xml."""
    path = Path(path)
    return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)


__all__ = ["Opened", "files_of", "opened"]
