"""torch.export: a program that runs without the model's Python code."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, BrokenFile
from niwaki.export.capture import capture_call
from niwaki.export.varying import Dynamic
from niwaki.graph.observe import Inputs, tensors_of
from niwaki.replacing import made, replacing
from niwaki.wrappers import unwrapped


def torch_export(model: nn.Module, inputs: Inputs, path: str | os.PathLike[str], *, dynamic: Dynamic = False) -> Path:
    """Write ``model`` (in eval mode) as a ``.pt2`` program; read it with ``torch.export.load`` or :func:`opened`.

    The program is called as the model is. Where the model gives a record, as those of transformers do, the program
    gives a dict of its tensors, so that it runs where that library is not installed.

    Args:
        inputs: as for :func:`niwaki.trace`. dynamic: which sizes may vary, as for :func:`onnx`.

    Raises:
        BadInput: torch.export cannot take the model, or a size cannot vary.
    """
    found = capture_call(unwrapped(model, "what is exported"), inputs, dynamic, "torch.export")
    for node in found.program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, and most of a small file
    path = Path(path)
    made(path.parent)
    with replacing(path) as part, part.open("wb") as file:
        torch.export.save(found.program, file)
    return path


def torch_session(path: str | os.PathLike[str], *, threads: int = 1) -> Callable[..., tuple[Tensor, ...]]:
    """A program of torch.export as a function of the model's arguments, giving tensors.

    It runs on the device that it was written on, with as many threads as torch is set to. A program is code: open such
    as you trust. Nothing in it is unpickled.

    Raises:
        BadInput: there is no such file. BrokenFile: it is damaged, or holds what would have to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"no program of torch.export at {path}")
    for wrong in _unsafe(path):
        raise BrokenFile(f"{path}: {wrong} would have to be unpickled, which can run any code; write it again")
    try:
        program = torch.export.load(str(path)).module()
    except Exception as trouble:  # whatever torch says of a record that is not there
        raise BrokenFile(f"{path} is no program that torch.export could load: {trouble}") from trouble

    def run(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return tuple(tensors_of(program(*args, **kwargs), caches=False))

    return run


def program_devices(path: str | os.PathLike[str]) -> frozenset[str]:
    """The kinds of devices that a program was written on, as ``"cpu"`` or ``"cuda"``; it is not opened for that.

    Raises:
        BrokenFile: the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [archive.read(name) for name in archive.namelist() if name.endswith(".json")]
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as trouble:
        raise BrokenFile(f"{path} is no program of torch.export: {trouble}") from trouble
    return frozenset(kind.decode() for text in texts for kind in _DEVICE.findall(text))


_DEVICE = re.compile(rb'"device":\s*\{\s*"type":\s*"(\w+)"')


def torch_weights(path: Path) -> int:
    """Bytes of the weights and constants in a program."""
    with zipfile.ZipFile(path) as archive:
        stored = [
            info
            for info in archive.infolist()
            if "/data/weights/" in info.filename or "/data/constants/" in info.filename
        ]
        return sum(info.file_size for info in stored if not info.filename.endswith(".json"))


def _unsafe(path: Path) -> Iterator[str]:
    """What torch would unpickle without checking what it makes: it falls back to that wherever reading plain tensors
    fails."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            yield from (f"the second {name!r}" for name in sorted({n for n in names if names.count(n) > 1}))
            for name in names:
                yield from _unsafe_in(name, archive.read(name))
    except (zipfile.BadZipFile, zlib.error, ValueError, AttributeError, EOFError) as trouble:
        raise BrokenFile(f"{path} is no program of torch.export: {trouble}") from trouble


def _is_object(name: str) -> bool:
    """Is it, or anything on the way to it, called as torch calls what is no tensor?"""
    return any(part.startswith(("custom_obj", "opaque_obj")) for part in name.replace("\\", "/").split("/"))


def _unsafe_in(name: str, content: bytes) -> Iterator[str]:
    last = name.rpartition("/")[2]
    if _is_object(name) or "/aotinductor/" in name:
        yield repr(name)
    elif last.endswith("_config.json"):
        for key, payload in json.loads(content).get("config", {}).items():
            place = str(payload.get("path_name", ""))
            if payload.get("use_pickle") or _is_object(place) or "/" in place or "\\" in place:
                yield f"{key!r} in {last}"
    elif last.endswith(".pt") and content:
        try:
            torch.load(io.BytesIO(content), weights_only=True)
        except Exception:
            yield repr(name)
