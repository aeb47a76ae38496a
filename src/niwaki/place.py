"""Where a job finds its data and where it computes: the environment says it, so that a recipe fits every machine."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from niwaki.errors import BadInput

DATA, DEVICE = "NIWAKI_DATA", "NIWAKI_DEVICE"


def device() -> torch.device:
    """What ``NIWAKI_DEVICE`` names; without it ``cuda`` if there is one, or else the processor.

    Raises:
        BadInput: there is no such device.
    """
    there = torch.cuda.is_available()
    asked = os.environ.get(DEVICE) or ("cuda" if there else "cpu")
    try:
        found = torch.device(asked)
    except RuntimeError as error:
        raise BadInput(f"{DEVICE} is {asked!r}, which is no device; say cpu, cuda or cuda:1.") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise BadInput(
            f"{DEVICE} is {asked!r}, and PyTorch finds {torch.cuda.device_count()} such devices here; set "
            f"{DEVICE}=cpu, or install the PyTorch and the driver for your device."
        )
    return found


def folder(name: str) -> Path:
    """The folder of a data set, inside the one that ``NIWAKI_DATA`` names.

    Raises:
        BadInput: the variable is not set, or there is no such folder.
    """
    root = os.environ.get(DATA)
    if not root:
        raise BadInput(f"{DATA} is not set; set it to the folder in which {name}/ lies: export {DATA}=FOLDER.")
    found = Path(root).expanduser() / name
    if not found.is_dir():
        raise BadInput(f"There is no folder {found}; put the data set there, or set {DATA} to the folder with {name}/.")
    return found


def bf16_pays(device: str) -> bool:
    """Whether this kind of device (``"cpu"``, ``"cuda"``, …) multiplies bfloat16 in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported") if device == "cpu" else ()
    probes = (getattr(torch.cpu, name, None) for name in names)
    return any(probe() for probe in probes if probe is not None)


__all__ = ["DATA", "DEVICE", "bf16_pays", "device", "folder"]
