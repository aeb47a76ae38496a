"""Networks where a job computes, laid out as their device likes them."""

from __future__ import annotations

import torch
from torch import nn

from niwaki.place import DATA, DEVICE, device, folder


def settled(model: nn.Module) -> nn.Module:
    """The model on the `device`, channels last, which convolutions in low precision are fastest with."""
    home = device()
    if home.type == "cuda":
        # Or convolutions of float32 would keep 10 bits of 23, and no certificate could hold. Training is in bfloat16.
        torch.backends.cudnn.allow_tf32 = False
    return model.to(home, memory_format=torch.channels_last)  # type: ignore[call-overload]


__all__ = ["DATA", "DEVICE", "device", "folder", "settled"]
