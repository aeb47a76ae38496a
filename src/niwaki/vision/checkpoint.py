"""Read weights from the checkpoint files that go around for these networks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from niwaki.errors import BadInput

WRAPPERS = ("module.", "_orig_mod.")


def weights(path: Path | str) -> dict[str, Tensor]:
    """The state dict in a file of safetensors, or in one that ``torch.save`` wrote, on the CPU, for
    ``model.load_state_dict``.

    It may lie under the key ``state_dict`` beside other things, and its names may begin with ``module.`` or
    ``_orig_mod.``, as data parallelism and ``torch.compile`` leave them. Only tensors and plain values are read; a file
    with anything else in it is refused.

    Raises:
        BadInput: the file is missing, damaged, or holds something else.
    """
    try:
        content = _content(Path(path))
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; copy the checkpoint there.") from error
    except Exception as error:  # whatever a damaged or hostile file leads to
        if _is_refusal(error) and "GLOBAL" in str(error):
            raise BadInput(
                f"{path} holds more than tensors and plain values (a whole model, or code): it is not read, and "
                "nothing in it was run. Save model.state_dict() where the model was made, and take that."
            ) from error
        raise BadInput(f"{path} is no checkpoint of plain tensors{_said(error)}; copy it again.") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"{path} holds no state dict (names with a tensor each); save model.state_dict() and take that.")
    return {_bare(str(name)): value for name, value in state.items()}


def _is_refusal(error: Exception) -> bool:
    """Of torch, to read what is no tensor. (By name: what it comes from has no business here.)"""
    return type(error).__name__ == "UnpicklingError"


def _said(error: Exception) -> str:
    """The first line of it; of torch's own none, which is long and gives other advice."""
    lines = [] if _is_refusal(error) else str(error).strip().splitlines()
    return f" ({lines[0]})" if lines else ""


def _bare(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def _content(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(path))
    return torch.load(path, map_location="cpu", weights_only=True)
