"""Read weights from the checkpoint files that go around for these networks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from niwaki.errors import BadInput


def weights(path: Path | str) -> dict[str, Tensor]:
    """The state dict in a file of safetensors, or in one that ``torch.save`` wrote, on the CPU, for
    ``model.load_state_dict``.

    It may lie under the key ``state_dict`` beside other things, and its names may begin with ``module.``, as data
    parallelism leaves them. Only tensors and plain values are read; a file with anything else in it is refused.

    Raises:
        BadInput: the file is missing, damaged, or holds something else.
    """
    try:
        content = _content(Path(path))
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; copy the checkpoint there.") from error
    except Exception as error:  # whatever a damaged or hostile file leads to
        first = str(error).strip().splitlines()[:1]
        raise BadInput(f"{path} is no checkpoint of plain tensors ({''.join(first)}); copy it again.") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"{path} holds no state dict (names with a tensor each); save model.state_dict() and take that.")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _content(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(path))
    return torch.load(path, map_location="cpu", weights_only=True)
