"""The networks whose speed is forecast and measured, as published, with random weights: what they compute does not
depend on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from networks import resnet50
from torch import nn

SEQUENCE = 128


@dataclass(frozen=True)
class Subject:
    """A network and its inputs. ``kind``: CNN or encoder."""

    kind: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any]


def images(batch: int) -> Any:
    return torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def tokens(batch: int) -> Any:
    ids = torch.randint(5, 1000, (batch, SEQUENCE), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def hugging(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        torch.manual_seed(0)
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()

    return build


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
    "ResNet-50": Subject("CNN", lambda: resnet50().eval(), images),
    "MobileNetV2": Subject("CNN", hugging("MobileNetV2ForImageClassification", "MobileNetV2Config"), images),
    "EfficientNet-B0": Subject(
        "CNN",
        hugging(
            "EfficientNetForImageClassification",
            "EfficientNetConfig",
            width_coefficient=1.0,
            depth_coefficient=1.0,
            hidden_dim=1280,
            image_size=224,
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
