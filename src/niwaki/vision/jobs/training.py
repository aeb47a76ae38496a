"""One training step up to the loss, in bfloat16 where the device computes with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from niwaki.place import bf16_pays


def loss(model: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of a batch of images (N x 3 x H x W) and labels (N): a float32 scalar with a gradient."""
    images, labels = batch
    return F.cross_entropy(_logits(model, images), labels)


def smoothed_loss(model: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
    """The same with labels smoothed by 0.1 (Szegedy et al., *Rethinking the Inception Architecture*, 2016, section 7):
    a tenth of each label is spread evenly over all classes."""
    images, labels = batch
    return F.cross_entropy(_logits(model, images), labels, label_smoothing=0.1)


def taught_loss(
    model: Callable[[Tensor], Tensor],
    teacher: Callable[[Tensor], Tensor],
    batch: tuple[Tensor, Tensor],
    *,
    temperature: float = 4.0,
    share: float = 0.9,
) -> Tensor:
    """`loss`, mixed with what a teacher says (Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural
    Network*, 2015, section 2).

    ``(1 - share) * cross-entropy + share * T**2 * KL(teacher / T || model / T)``, a mean over the batch; ``T**2`` keeps
    the two gradients in proportion at any temperature.

    Args:
        teacher: logits of the same classes; it gets no gradient, and should be in evaluation mode.
        temperature: T, above 0; the higher, the more the unlikely classes count. share: 0 to 1.
    """
    images, labels = batch
    logits = _logits(model, images)
    with torch.no_grad():
        told = F.log_softmax(_logits(teacher, images) / temperature, dim=1)
    said = F.log_softmax(logits / temperature, dim=1)
    apart = F.kl_div(said, told, reduction="batchmean", log_target=True)
    return (1 - share) * F.cross_entropy(logits, labels) + share * temperature**2 * apart


def _logits(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=bf16_pays(device)):
        logits = model(images)
    return logits.float()


__all__ = ["bf16_pays", "loss", "smoothed_loss", "taught_loss"]
