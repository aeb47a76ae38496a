"""Transformers that look at pictures, and their kin."""

from __future__ import annotations

from niwaki.testing.families.decoders import SPECIAL
from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import VOCABULARY, Feed, floats, ids, keywords, pixels
from niwaki.testing.families.hugging import Settings, hugging

VIT_LIKE: Settings = {
    "image_size": 24,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "num_labels": 5,
}
LABELS: Settings = {"num_labels": 5}


def _vision(
    name: str,
    model: str,
    more: str,
    kinds: str,
    tiny: Settings,
    real: Settings,
    *,
    size: int = 32,
    real_size: int = 224,
    note: str = "",
) -> Family:
    real = {"num_labels": 1000, **real}
    return hugging(name, model, f"vision {more}", kinds, tiny, pixels(2, size), real, pixels(1, real_size), note)


def _columnar(name: str, model: str, more: str, tiny: Settings, real: Settings, note: str = "") -> Family:
    """Make a family of equal layers one upon the other."""
    settings = {**VIT_LIKE, **tiny}
    return _vision(
        name,
        model,
        f"encoder attention norm_statistics {more}",
        "neuron head hidden",
        settings,
        real,
        size=24,
        note=note,
    )


COLUMNS = (
    _columnar("vit", "ViTForImageClassification", "", {}, {}),
    _columnar("deit", "DeiTForImageClassification", "", {}, {}),
    _columnar(
        "beit",
        "BeitForImageClassification",
        "relative_position layer_scale",
        {"use_relative_position_bias": True, "use_mean_pooling": True},
        {"use_relative_position_bias": True, "use_mean_pooling": True, "use_mask_token": False},
        note="Keys have no bias, queries and values do.",
    ),
    _columnar(
        "dinov2",
        "Dinov2ForImageClassification",
        "layer_scale",
        {"mlp_ratio": 2},
        {"image_size": 518, "patch_size": 14},
        note="The head reads the class token beside the mean of the others.",
    ),
    _columnar(
        "dinov2_gated",
        "Dinov2ForImageClassification",
        "layer_scale gated",
        {"mlp_ratio": 2, "use_swiglu_ffn": True},
        {
            "image_size": 518,
            "patch_size": 14,
            "hidden_size": 1536,
            "num_hidden_layers": 40,
            "num_attention_heads": 24,
            "use_swiglu_ffn": True,
        },
        note="One matrix makes the gate and what it gates.",
    ),
)

PYRAMIDS = (
    _vision(
        "swin",
        "SwinForImageClassification",
        "encoder attention hierarchical relative_position norm_statistics",
        "neuron head hidden",
        {
            "image_size": 32,
            "embed_dim": 24,
            "depths": [2, 1],
            "num_heads": [3, 6],
            "window_size": 4,
            "mlp_ratio": 1.5,
            **LABELS,
        },
        {},
        note="Between stages, four neighbours are joined along the channels and then reduced.",
    ),
    _vision(
        "swinv2",
        "Swinv2ForImageClassification",
        "encoder attention hierarchical relative_position norm_statistics",
        "neuron head hidden",
        {
            "image_size": 32,
            "embed_dim": 24,
            "depths": [2, 1],
            "num_heads": [3, 6],
            "window_size": 4,
            "mlp_ratio": 1.5,
            **LABELS,
        },
        {"image_size": 256, "window_size": 8},
        real_size=256,
        note="Attention by cosine, with a small network that makes the position bias.",
    ),
    _vision(
        "segformer",
        "SegformerForSemanticSegmentation",
        "encoder attention hierarchical norm_statistics",
        "channel neuron head hidden",
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 24, 32],
            "num_attention_heads": [1, 2, 3, 4],
            "mlp_ratios": [2, 2, 2, 2],
            "decoder_hidden_size": 28,
            **LABELS,
        },
        {"num_labels": 150},
        real_size=512,
        note="Keys and values are made from a smaller picture; a depthwise convolution inside each MLP.",
    ),
    _vision(
        "mobilevit",
        "MobileViTForImageClassification",
        "encoder attention cnn hierarchical norm_statistics",
        "channel neuron head hidden",
        {
            "image_size": 64,
            "hidden_sizes": [24, 32, 40],
            "neck_hidden_sizes": [8, 12, 16, 20, 28, 36, 44],
            "mlp_ratio": 1.5,
            "expand_ratio": 2.0,
            **LABELS,
        },
        {},
        size=64,
        real_size=256,
    ),
    _vision(
        "pvt",
        "PvtForImageClassification",
        "encoder attention hierarchical norm_statistics",
        "neuron head hidden",
        {
            "image_size": 32,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 24, 32],
            "num_attention_heads": [1, 2, 3, 4],
            "mlp_ratios": [3, 3, 2, 2],
            **LABELS,
        },
        {},
    ),
    _vision(
        "levit",
        "LevitForImageClassification",
        "encoder attention hierarchical relative_position fused_qkv",
        "channel neuron head hidden",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [6, 6, 6],
            "mlp_ratio": [2, 2, 2],
            "attention_ratio": [2, 2, 2],
            **LABELS,
        },
        {},
        size=64,
        note="Batch norms only; values are twice as wide as keys.",
    ),
    _vision(
        "cvt",
        "CvtForImageClassification",
        "encoder attention hierarchical norm_statistics",
        "channel neuron head hidden",
        {"embed_dim": [8, 16, 24], "num_heads": [1, 2, 3], "depth": [1, 2, 3], "mlp_ratio": [2.0, 2.0, 2.0], **LABELS},
        {},
        note="Queries, keys and values begin with depthwise convolutions.",
    ),
    _vision(
        "poolformer",
        "PoolFormerForImageClassification",
        "encoder hierarchical layer_scale norm_statistics",
        "neuron hidden",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "mlp_ratio": 2.0, **LABELS},
        {},
        note="Pools where others attend.",
    ),
    _vision(
        "convnext",
        "ConvNextForImageClassification",
        "cnn hierarchical layer_scale norm_statistics",
        "neuron hidden",
        {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1], **LABELS},
        {},
        note="Its MLP is four times as wide as its stream.",
    ),
    _vision(
        "convnextv2",
        "ConvNextV2ForImageClassification",
        "cnn hierarchical norm_statistics",
        "neuron hidden",
        {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1], **LABELS},
        {},
        note="Inside each MLP, a norm of responses that averages over the neurons.",
    ),
)

TOWER: Settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
TEXT_TOWER: Settings = {
    **SPECIAL,
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 28,
    "max_position_embeddings": 19,
}
VISION_TOWER: Settings = {**TOWER, "image_size": 24, "patch_size": 8}


def _captioned(batch: int, length: int, vocabulary: int, size: int) -> Feed:
    return keywords(input_ids=ids(batch, length, vocabulary), pixel_values=floats(batch, 3, size, size))


TWO_TOWERS = (
    hugging(
        "clip",
        "CLIPModel",
        "vision text encoder attention norm_statistics stream_is_output",
        "neuron head",
        {"text_config": TEXT_TOWER, "vision_config": VISION_TOWER, "projection_dim": 20},
        _captioned(2, 7, VOCABULARY, 24),
        {},
        _captioned(1, 16, 1000, 224),
        note="Two towers; their streams, and the space where they meet, are all outputs.",
    ),
    hugging(
        "siglip",
        "SiglipModel",
        "vision text encoder attention norm_statistics stream_is_output",
        "neuron head",
        {
            "text_config": {**TEXT_TOWER, "hidden_size": 32, "num_attention_heads": 4, "projection_size": 32},
            "vision_config": VISION_TOWER,
        },
        _captioned(2, 7, VOCABULARY, 24),
        {"text_config": {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1}},
        _captioned(1, 16, 1000, 224),
        note="The picture is pooled by an attention with a query of its own.",
    ),
)

DETR = _vision(
    "detr",
    "DetrForObjectDetection",
    "encoder_decoder attention norm_statistics cnn detection stream_is_output",
    "channel neuron head",
    {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [12, 16, 20, 24],
            "depths": [1, 1, 1, 1],
            "out_features": ["stage4"],
        },
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 44,
        "num_queries": 6,
        **LABELS,
    },
    {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]},
        "num_labels": 91,
    },
    size=64,
    note="The backbone's batch norms are frozen: their weights are buffers.",
)

FAMILIES = (*COLUMNS, *PYRAMIDS, *TWO_TOWERS, DETR)
