"""Causal language models: one from a local folder, windows of text to train it on, and the loss of the next token."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput, require_extra
from niwaki.text.answers import logits
from niwaki.text.batches import Batch, Tokens
from niwaki.text.encoders import pretrained, quiet
from niwaki.text.language import disjoint


def causal(folder: str | os.PathLike[str]) -> nn.Module:
    """The causal language model in a local folder of Hugging Face's form, in float32. Nothing is downloaded, and no
    code in it is run.

    Raises:
        BadInput: no such folder, no weights in safetensors, or some are missing. MissingExtra: transformers is not
            installed.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise require_extra("transformers", "hf") from None
    if not Path(folder, "config.json").is_file():
        raise BadInput(f"{folder} has no config.json; name a local folder that save_pretrained has written.")
    try:
        with quiet():
            model, told = pretrained(AutoModelForCausalLM, folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInput(f"{folder} holds no causal language model in safetensors ({error}).") from error
    if told["missing_keys"]:
        raise BadInput(f"The weights in {folder} lack {sorted(told['missing_keys'])[0]}; is it a language model?")
    return model


def windows(ids: Tensor, length: int) -> Tokens:
    """A row of tokens cut into disjoint windows to train on; what is left over at the end is dropped. (The labels are
    none: they are the tokens themselves, see :func:`loss`.)

    Args:
        ids: int64, tokens. length: tokens in a window, at least 2.

    Raises:
        BadInput: there are fewer tokens than that.
    """
    if length < 2:
        raise BadInput(f"A window has at least 2 tokens, of which each but the first is predicted; got {length}.")
    found = disjoint(ids, length)
    starts = torch.arange(len(found) + 1) * length
    return Tokens({"input_ids": found.flatten()}, starts, torch.zeros(len(found), dtype=torch.int64), {"input_ids": 0})


def loss(model: nn.Module, batch: Batch, bf16: bool | None = None) -> Tensor:
    """Mean cross-entropy of each token of a window but the first, given those before it; a float32 scalar.

    Args:
        batch: of :func:`windows`. bf16: as for :func:`niwaki.text.answers.loss`.
    """
    told = logits(model, batch, bf16)[:, :-1]
    return F.cross_entropy(told.flatten(0, 1), batch["input_ids"][:, 1:].flatten())


__all__ = ["causal", "loss", "windows"]
