"""What a model answers to tokenised texts: logits, the loss of a batch, the measures of a whole part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput
from niwaki.modes import evaluating
from niwaki.place import bf16_pays
from niwaki.text.batches import Batch, Tokens, by_length
from niwaki.text.metrics import scores


def loss(model: nn.Module, batch: Batch, bf16: bool | None = None) -> Tensor:
    """Loss of a batch: cross-entropy where labels are class numbers, the mean squared error where they are scores.

    Args:
        model: of Hugging Face's kind: takes the batch's inputs by name, gives ``logits``, rows x outputs.
        batch: with ``labels``, int64 or float32.
        bf16: compute products in bfloat16 (weights and losses stay float32); by default, where the device has it in
            hardware.

    Returns:
        A float32 scalar with a gradient.
    """
    labels = batch["labels"]
    found = logits(model, batch, bf16)
    return F.mse_loss(found[:, 0], labels) if labels.is_floating_point() else F.cross_entropy(found, labels)


def logits(model: nn.Module, batch: Batch, bf16: bool | None = None) -> Tensor:
    """What the model gives for a batch (its labels are not shown): float32, rows x outputs."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    kind = batch["input_ids"].device.type
    with torch.autocast(kind, torch.bfloat16, enabled=bf16_pays(kind) if bf16 is None else bf16):
        told = model(**inputs)
    found = told if isinstance(told, Tensor) else told["logits"]
    return found.float()


@torch.no_grad()  # no inference mode: tables that the model makes and keeps could not be trained through
def outputs(model: nn.Module, tokens: Tokens, size: int = 64, bf16: bool | None = False) -> Tensor:
    """Logits of all rows in their order, float32, rows x outputs, on the CPU; in evaluation mode, modes put back.

    Args:
        size: rows in a batch; it changes the speed, and results by rounding only. bf16: as for `loss`; by default the
            model is asked in its own precision.
    """
    if size < 1 or not len(tokens):
        raise BadInput(f"{len(tokens)} rows cannot be asked in batches of {size}.")
    home = next(model.parameters(), torch.zeros(())).device
    tokens, parts = tokens.to(home), by_length(tokens, size)
    with evaluating(model):
        found = torch.cat([logits(model, tokens.batch(rows.to(home)), bf16).cpu() for rows in parts])
    return found[torch.cat(list(parts)).cpu().argsort()]


def measured(
    model: nn.Module, tokens: Tokens, metrics: Sequence[str], size: int = 64, bf16: bool | None = False
) -> dict[str, float]:
    """Measures by name (of `niwaki.text.metrics.METRICS`) of what the model answers; arguments as for `outputs`."""
    return scores(metrics, outputs(model, tokens, size, bf16), tokens.labels.tolist())


__all__ = ["logits", "loss", "measured", "outputs"]
