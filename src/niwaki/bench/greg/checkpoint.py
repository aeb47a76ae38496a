"""The dense network that a comparison starts from, read from a file without unpickling."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from niwaki.bench import results
from niwaki.errors import BrokenFile
from niwaki.vision.checkpoint import weights


def load_weights(model: nn.Module, path: Path) -> str:
    """Load a checkpoint into ``model``; give the SHA-256 of the file.

    Raises:
        BadInput: there is no such file, or it holds no weights. BrokenFile: they are of another network.
    """
    tensors = weights(path)
    wanted = model.state_dict()
    # Counters of batches came later than many checkpoints.
    missing = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
    extra = [n for n in tensors if n not in wanted]
    if missing or extra:
        found = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
        raise BrokenFile(f"{path} is not of this {type(model).__name__}: it {found}")
    unlike = [n for n, t in tensors.items() if t.shape != wanted[n].shape]
    if unlike:
        n = unlike[0]
        raise BrokenFile(f"{path}: {n!r} is {tuple(tensors[n].shape)}, and the network's {tuple(wanted[n].shape)}")
    model.load_state_dict(tensors, strict=False)
    return results.digest(path)


__all__ = ["load_weights"]
