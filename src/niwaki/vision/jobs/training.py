"""One training step up to the loss, in bfloat16 where the device computes with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def loss(model: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of a batch of images (N x 3 x H x W) and labels (N): a float32 scalar with a gradient."""
    images, labels = batch
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=bf16_pays(device)):
        logits = model(images)
    return F.cross_entropy(logits.float(), labels)


def bf16_pays(device: str) -> bool:
    """Whether this kind of device (``"cpu"``, ``"cuda"``, …) multiplies bfloat16 in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported") if device == "cpu" else ()
    probes = (getattr(torch.cpu, name, None) for name in names)
    return any(probe() for probe in probes if probe is not None)


__all__ = ["bf16_pays", "loss"]
