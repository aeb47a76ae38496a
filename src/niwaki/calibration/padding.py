"""Positions that only fill up a batch: what a model does there is no sample of what it does."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from niwaki.calibration.batches import Batch

MASK = "attention_mask"


def real_positions(model: nn.Module, batch: Batch) -> Tensor | None:
    """Which positions of a batch are there for their own sake: bool, (samples, positions).

    Told by the argument ``attention_mask`` as Hugging Face's models take it, one number per position, nought where it
    is padding. None where there is no such mask or where it hides nothing, and of models that read and write (T5,
    BART), whose mask is of what is read alone.
    """
    mask = _arguments(model, batch).get(MASK)
    config: Any = getattr(model, "config", None)
    if not isinstance(mask, Tensor) or mask.dim() != 2 or getattr(config, "is_encoder_decoder", False) is True:
        return None
    real = mask != 0
    return None if bool(real.all()) else real


def without_padding(hidden: Tensor, real: Tensor | None) -> Tensor:
    """The features of the real positions alone, (positions, features); other tensors as they are.

    Args:
        hidden: (samples, positions, features), or (samples x positions, features). real: (samples, positions), or None.
    """
    if real is None:
        return hidden
    if hidden.dim() == 3 and hidden.shape[:2] == real.shape:
        return hidden[real.to(hidden.device)]
    if hidden.dim() == 2 and len(hidden) == real.numel() > len(real):
        return hidden[real.flatten().to(hidden.device)]
    return hidden


def _arguments(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """By name, those given without one too; and what goes into ``**kwargs``, which a signature keeps in one piece."""
    try:
        return {**inspect.signature(model.forward).bind_partial(*batch.args, **batch.kwargs).arguments, **batch.kwargs}
    except (TypeError, ValueError):  # a forward that cannot be read, or is not called like this
        return batch.kwargs


__all__ = ["MASK", "real_positions", "without_padding"]
