"""The networks that several processes train, with random weights and made-up data: a step takes as long with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.bench.names import named
from niwaki.bench.speed.subjects import hugging

TOKENS = 64
"""Of each sentence."""


@dataclass(frozen=True)
class Subject:
    """A network in training.

    Attributes:
        build: the same weights every time. inputs: for tracing.
        draw: so many examples as a tensor, their first dimension.
        loss: the mean over examples that are given.
        parts: modules that are sharded by themselves under ``fully_shard``; the rest with the root.
        batch: how many examples each process has in a step that is timed: as many as is usual in training.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    draw: Callable[[int, torch.Generator], Tensor]
    loss: Callable[[nn.Module, Tensor], Tensor]
    parts: Callable[[nn.Module], Iterable[nn.Module]]
    batch: int


def _resnet56() -> nn.Module:
    from niwaki.vision.resnet_cifar import resnet

    torch.manual_seed(0)
    return resnet(56)


def _images(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=generator)


def _of_images(model: nn.Module, images: Tensor) -> Tensor:
    return F.cross_entropy(model(images), images[:, 0, 0, :10].argmax(1))


def _blocks(model: nn.Module) -> list[nn.Module]:
    from niwaki.vision.resnet_cifar import Block

    return [module for module in model.modules() if isinstance(module, Block)]


def _encoder(**settings: Any) -> Callable[[], nn.Module]:
    """A BERT without dropout, so that as many processes as you like compute the same."""
    dropouts = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    build = hugging("BertForSequenceClassification", "BertConfig", **settings, **dropouts)
    return lambda: build().train()


def _sentences(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(5, 1000, (count, TOKENS), generator=generator)


def _of_sentences(model: nn.Module, ids: Tensor) -> Tensor:
    return F.cross_entropy(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, ids[:, 0] % 2)


def _layers(model: nn.Module) -> Iterable[nn.Module]:
    return list(model.get_submodule("bert.encoder.layer").children())


def _one_sentence() -> dict[str, Tensor]:
    ids = torch.full((1, TOKENS), 5)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _of_text(batch: int, **settings: Any) -> Subject:
    return Subject(_encoder(**settings), _one_sentence, _sentences, _of_sentences, _layers, batch)


SUBJECTS: dict[str, Subject] = {
    "ResNet-56": Subject(_resnet56, lambda: torch.zeros(1, 3, 32, 32), _images, _of_images, _blocks, batch=128),
    "MiniLM-L6": _of_text(32, num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536),
    "small encoder": _of_text(
        8, num_hidden_layers=4, hidden_size=128, num_attention_heads=4, intermediate_size=512, vocab_size=1000
    ),
}
TIMED = ("ResNet-56", "MiniLM-L6")
FOLLOWED = "small encoder"
"""Whose loss is followed: nothing in it looks at more than one example, as batch norms do."""


def subject(name: str) -> Subject:
    """The network of this name.

    Raises:
        BadInput: there is none.
    """
    return named("network", name, SUBJECTS)


__all__ = ["FOLLOWED", "SUBJECTS", "TIMED", "Subject", "subject"]
