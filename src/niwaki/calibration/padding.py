"""Positions that only fill up a batch: what a model does there is no sample of what it does."""

from __future__ import annotations

from torch import Tensor

from niwaki.calibration.batches import Batch

MASK = "attention_mask"


def real_positions(batch: Batch) -> Tensor | None:
    """Which positions of a batch are there for their own sake: bool, (samples, positions).

    Told by the keyword ``attention_mask`` as Hugging Face's models take it, one number per position, nought where it
    is padding; None where there is no such mask, where it hides nothing, or where a decoder has positions of its own.
    """
    mask = batch.kwargs.get(MASK)
    if not isinstance(mask, Tensor) or mask.dim() != 2 or any(name.startswith("decoder_") for name in batch.kwargs):
        return None
    real = mask != 0
    return None if bool(real.all()) else real


def without_padding(hidden: Tensor, real: Tensor | None) -> Tensor:
    """The features of the real positions alone, (positions, features); other tensors as they are.

    Args:
        hidden: (samples, positions, features). real: (samples, positions), or None.
    """
    if real is None or hidden.dim() != 3 or hidden.shape[:2] != real.shape:
        return hidden
    return hidden[real.to(hidden.device)]


__all__ = ["MASK", "real_positions", "without_padding"]
