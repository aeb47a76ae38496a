"""The models of ``big_models.py``: published sizes, on the meta device, from configurations written here or in
``niwaki.testing.families``. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from niwaki.testing.families import family
from niwaki.testing.families.feeds import Feed, floats, ids, keywords, tokens
from niwaki.testing.families.hugging import Settings, configured
from niwaki.testing.families.planting import on_meta


@dataclass(frozen=True)
class Limit:
    """What we aim at; 0 says nothing."""

    trace_s: float
    plan_s: float
    memory_gb: float = 0


@dataclass(frozen=True)
class Case:
    """One model without weights, and what it is called with.

    ``line``: the width whose time and memory against ``layers`` this is a point of, "" if none. ``listed``: the model
    has a row in the tables; others are points of a line alone.
    """

    name: str
    label: str
    build: Callable[[], nn.Module | None]
    inputs: Callable[[], Any]
    limit: Limit | None = None
    line: str = ""
    layers: int = 0
    listed: bool = True


LINES: dict[str, tuple[int, Settings, tuple[int, ...], Limit]] = {
    "Llama-2-7B": (
        32,
        {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 11008},
        (8, 16, 24, 32),
        Limit(trace_s=6, plan_s=10, memory_gb=2),
    ),
    "Llama-2-70B": (
        80,
        {"hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672},
        (8, 16, 32, 48, 64, 80),
        Limit(trace_s=30, plan_s=10),
    ),
}
"""By name: the published number of layers, the published widths, the depths to measure, what to aim at."""


def _llamas(label: str) -> list[Case]:
    published, widths, depths, limit = LINES[label]
    return [_llama(label, widths, layers, limit if layers == published else None) for layers in depths]


def _llama(label: str, widths: Settings, layers: int, limit: Limit | None) -> Case:
    settings = {"vocab_size": 32000, "max_position_embeddings": 4096, "num_hidden_layers": layers, **widths}
    name = label.lower().replace("-2-", "2_")
    build = on_meta(partial(configured, "LlamaForCausalLM", settings))
    whole = limit is not None
    return Case(name if whole else f"{name}_{layers}", label, build, SENTENCE, limit, label, layers, whole)


SENTENCE = tokens(1, 16, 1000)


def _published(name: str, label: str) -> Case:
    each = family(name)
    return Case(name, label, each.real, each.real_inputs)


def _sized(name: str, label: str, model: str, settings: Settings, inputs: Feed = SENTENCE) -> Case:
    """A size that people speak of, where the family's own is a smaller one."""
    return Case(name, label, on_meta(partial(configured, model, settings)), inputs)


FAMILIES = (
    _published("bert", "BERT-base"),
    _published("distilbert", "DistilBERT"),
    _published("albert", "ALBERT-base"),
    _published("gpt2", "GPT-2"),
    _sized(
        "qwen2",
        "Qwen2-7B",
        "Qwen2ForCausalLM",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    _sized(
        "qwen3",
        "Qwen3-8B",
        "Qwen3ForCausalLM",
        {
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
    ),
    _published("phi3", "Phi-3-mini"),
    _published("mixtral", "Mixtral-8x7B"),
    _published("mamba", "Mamba-130M"),
    _sized(
        "t5",
        "T5-base",
        "T5ForConditionalGeneration",
        {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
        keywords(input_ids=ids(1, 16, 1000), decoder_input_ids=ids(1, 12, 1000)),
    ),
    _sized(
        "whisper",
        "Whisper-small",
        "WhisperForConditionalGeneration",
        {
            "d_model": 768,
            "encoder_layers": 12,
            "decoder_layers": 12,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
        keywords(input_features=floats(1, 80, 3000), decoder_input_ids=ids(1, 12, 1000)),
    ),
    _published("vit", "ViT-B/16"),
    _published("swin", "Swin-T"),
    _published("convnext", "ConvNeXt-T"),
    _published("segformer", "SegFormer-B0"),
    _published("resnet_bottleneck", "ResNet-50"),
    _published("regnet", "RegNetY-4GF"),
    _published("efficientnet", "EfficientNet-B0"),
    _published("mobilenet_v2", "MobileNetV2"),
    _published("mobilenet_v3", "MobileNetV3-L"),
    _published("densenet", "DenseNet-121"),
    _published("shufflenet_v2", "ShuffleNetV2 1×"),
    _published("unet", "U-Net"),
)

CASES = {case.name: case for case in (*_llamas("Llama-2-7B"), *_llamas("Llama-2-70B"), *FAMILIES)}
