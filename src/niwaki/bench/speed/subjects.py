"""The networks whose speed is forecast and measured, as published, with random weights: how fast they are does not
depend on those, as long as no numbers come out that are nearly zero."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from niwaki.bench.names import named

SEQUENCE = 128


@dataclass(frozen=True)
class Subject:
    """A network, in eval mode, and its inputs by batch. ``kind``: CNN, encoder or decoder."""

    kind: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any]


def images(batch: int) -> Any:
    """224 x 224 pixels in three colours."""
    return torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def tokens(batch: int) -> Any:
    """Sentences of ``SEQUENCE`` tokens, none of them hidden."""
    ids = torch.randint(5, 1000, (batch, SEQUENCE), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def hugging(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    """A class of transformers, built from its configuration."""

    def build() -> nn.Module:
        import transformers

        torch.manual_seed(0)
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()

    return build


def normed(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The network with the statistics of its batch norms from a pass over images.

    In a deep network whose fresh norms divide by one, what is computed fades from layer to layer, into numbers so small
    (below 1.2e-38) that processors take many times as long for them.
    """

    def built() -> nn.Module:
        model = build()
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 1.0
        with torch.no_grad():
            torch.manual_seed(0)  # some blocks are left out at random in training
            model.train()(images(4))
        return model.eval()

    return built


def _resnet50() -> nn.Module:
    from niwaki.vision.resnet_imagenet import resnet50

    torch.manual_seed(0)
    return resnet50().eval()


SUBJECTS: dict[str, Subject] = {
    "ResNet-18": Subject(
        "CNN",
        hugging(
            "ResNetForImageClassification",
            "ResNetConfig",
            depths=[2, 2, 2, 2],
            layer_type="basic",
            hidden_sizes=[64, 128, 256, 512],
        ),
        images,
    ),
    "ResNet-50": Subject("CNN", _resnet50, images),
    "MobileNetV2": Subject("CNN", hugging("MobileNetV2ForImageClassification", "MobileNetV2Config"), images),
    "EfficientNet-B0": Subject(
        "CNN",
        normed(
            hugging(
                "EfficientNetForImageClassification",
                "EfficientNetConfig",
                width_coefficient=1.0,
                depth_coefficient=1.0,
                hidden_dim=1280,
                image_size=224,
            )
        ),
        images,
    ),
    "ConvNeXt-T": Subject("CNN", hugging("ConvNextForImageClassification", "ConvNextConfig"), images),
    "MiniLM-L6": Subject(
        "encoder",
        hugging(
            "BertForSequenceClassification",
            "BertConfig",
            num_hidden_layers=6,
            hidden_size=384,
            num_attention_heads=12,
            intermediate_size=1536,
        ),
        tokens,
    ),
    "BERT-base": Subject("encoder", hugging("BertForSequenceClassification", "BertConfig"), tokens),
    "ViT-B/16": Subject("encoder", hugging("ViTForImageClassification", "ViTConfig"), images),
    "Llama, 100M": Subject(
        "decoder",
        hugging(
            "LlamaForCausalLM",
            "LlamaConfig",
            hidden_size=640,
            intermediate_size=1792,
            num_hidden_layers=12,
            num_attention_heads=10,
            num_key_value_heads=5,
            vocab_size=32000,
        ),
        lambda batch: {"input_ids": tokens(batch)["input_ids"], "use_cache": False},
    ),
}
NETWORKS = tuple(name for name in SUBJECTS if name != "MiniLM-L6")
"""Those that the comparison measures."""


def subject(name: str) -> Subject:
    """The network of this name.

    Raises:
        BadInput: there is none.
    """
    return named("network", name, SUBJECTS)


def plain(name: str) -> str:
    """A network's name as part of a file's: ``vit-b-16``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


__all__ = ["NETWORKS", "SEQUENCE", "SUBJECTS", "Subject", "hugging", "images", "normed", "plain", "subject", "tokens"]
