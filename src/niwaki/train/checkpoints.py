"""The state of a run as a file beside a trainer's own checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from niwaki.errors import BadInput
from niwaki.replacing import replacing

FILE = "niwaki_pruning.pt"
"""In every checkpoint's folder: the state of the run, tensors and plain data."""


def write(state: dict[str, Any], folder: Path) -> None:
    """Write it, whole or not at all."""
    with replacing(folder / FILE) as part:
        torch.save(state, part)


def read(folder: Path) -> dict[str, Any]:
    """What was written. Nothing in it can run code.

    Raises:
        BadInput: there is none.
    """
    if not (folder / FILE).is_file():
        raise BadInput(
            f"no {FILE} in {folder}: the checkpoint was written without the run. Begin anew, or go on from another one."
        )
    state: dict[str, Any] = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    return state


__all__ = ["FILE", "read", "write"]
