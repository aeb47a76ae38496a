"""An exported file as a function of the model's arguments, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.export.onnx_format import onnx_session, onnx_weights, weights_beside
from niwaki.export.openvino_format import openvino_session
from niwaki.export.torch_format import torch_session, torch_weights


class Format(NamedTuple):
    """A format: its name, what runs a file of it, and what tells the bytes of the weights in one."""

    name: str
    session: Callable[..., Callable[..., tuple[Tensor, ...]]]
    weighs: Callable[[Path], int]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".onnx": Format("onnx", onnx_session, onnx_weights),
        ".pt2": Format("torch_export", torch_session, torch_weights),
        ".xml": Format("openvino", openvino_session, lambda path: path.with_suffix(".bin").stat().st_size),
    }
)
"""By the ending of the file."""


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

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights and tables in it."""
        return FORMATS[self.path.suffix].weighs(self.path)


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
        known = ", ".join(f"{ending} ({form.name})" for ending, form in FORMATS.items())
        raise BadInput(f"{path.name!r} has not the ending of an exported file; known are {known}")
    form = FORMATS[path.suffix]
    return Opened(path, form.name, form.session(path, threads=threads))


def files_of(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files that an exported model consists of: OpenVINO's has its weights in a .bin beside the .xml, a large one
    of ONNX in a .onnx.data."""
    path = Path(path)
    beside = path.with_suffix(".bin") if path.suffix == ".xml" else weights_beside(path)
    large = path.suffix == ".onnx" and beside.is_file()
    return (path, beside) if path.suffix == ".xml" or large else (path,)


__all__ = ["Opened", "files_of", "opened"]
