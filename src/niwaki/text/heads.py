"""Heads of encoders: which of a checkpoint's weights are one, and its classes in the order that is asked for."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn

from niwaki.errors import BadInput

logger = logging.getLogger("niwaki")

HEADS = ("classifier", "pooler", "score", "pre_classifier", "sequence_summary", "classification_head", "logits_proj")
"""Parts that a checkpoint without a task's head may lack: the head itself, and the layer before it."""


def in_head(name: str) -> bool:
    """Is it a tensor of such a part?"""
    return not set(HEADS).isdisjoint(name.split("."))


def names_of(config: Any) -> list[str]:
    """Of its classes, in the order of their numbers, in small letters."""
    return [str(config.id2label[k]).casefold() for k in sorted(config.id2label)]


@torch.no_grad()
def take_order(folder: str | os.PathLike[str], model: Any, own: Sequence[str], missing: Collection[str]) -> None:
    """Put the rows of the folder's own head, whose classes are ``own``, into the order that the model's config has."""
    asked = names_of(model.config)
    if len(asked) < 2 or own == asked or not (_told(own) and _told(asked)):
        return
    head = _head(model, len(asked))
    fresh = head in missing if head else any(map(in_head, missing))
    if fresh:
        return
    both = f"The head in {folder} tells {', '.join(own)}, and {', '.join(asked)} are asked for"
    if all(own.index(name) == k for k, name in enumerate(asked) if name in own):  # no name says another place
        logger.warning("%s: its classes are taken for these, in this order", both)
        return
    if sorted(own) != sorted(asked) or len(set(own)) < len(own) or not head:
        raise BadInput(
            f"{both}, in another order. If they are the same, name them so in its config.json (id2label); a number of "
            "classes takes the head as it is."
        )
    order = torch.tensor([own.index(name) for name in asked])
    values = dict(model.named_parameters())
    for name in (head, f"{head.removesuffix('weight')}bias"):
        if name in values:
            values[name].copy_(values[name][order])


def _told(names: Sequence[str]) -> bool:
    """Has somebody named them, or are these transformers' LABEL_0, LABEL_1, …, or the numbers of a file?"""
    return not all(re.fullmatch(r"(label_)?\d+", name) for name in names)


def _head(model: nn.Module, outputs: int) -> str:
    """The weight of the last layer, which gives the outputs; nothing, if it is not known."""
    layers = [
        f"{name}.weight"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == outputs and in_head(name)
    ]
    return layers[-1] if layers else ""


__all__ = ["HEADS", "in_head", "names_of", "take_order"]
