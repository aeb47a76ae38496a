"""Convolutional networks that classify pictures."""

from __future__ import annotations

from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import pixels
from niwaki.testing.families.hugging import Settings, hugging

LABELS: Settings = {"num_labels": 5}


def _convnet(
    name: str, model: str, more: str, tiny: Settings, real: Settings, *, real_size: int = 224, note: str = ""
) -> Family:
    inputs, real_inputs = pixels(2, 32), pixels(1, real_size)
    real = {"num_labels": 1000, **real}
    return hugging(name, model, f"vision cnn {more}", "channel", {**LABELS, **tiny}, inputs, real, real_inputs, note)


FAMILIES = (
    _convnet(
        "resnet",
        "ResNetForImageClassification",
        "residual",
        {"embedding_size": 8, "hidden_sizes": [12, 20, 28], "depths": [2, 1, 1], "layer_type": "basic"},
        {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
        note="Basic blocks.",
    ),
    _convnet(
        "resnet_bottleneck",
        "ResNetForImageClassification",
        "residual",
        {"embedding_size": 8, "hidden_sizes": [24, 32, 40], "depths": [2, 1, 1]},
        {},
        note="Bottleneck blocks.",
    ),
    _convnet(
        "regnet",
        "RegNetForImageClassification",
        "residual grouped squeeze_excite",
        {"embedding_size": 8, "hidden_sizes": [12, 16, 24, 32], "depths": [1, 2, 1, 1], "groups_width": 4},
        {},
        note="Grouped convolutions, four channels a group, under squeeze and excite.",
    ),
    _convnet(
        "efficientnet",
        "EfficientNetForImageClassification",
        "residual depthwise squeeze_excite",
        {
            "width_coefficient": 0.0625,
            "depth_coefficient": 1.0,
            "depth_divisor": 4,
            "hidden_dim": 80,
            "in_channels": [32, 128, 256],
            "out_channels": [128, 256, 320],
            "kernel_sizes": [3, 3, 5],
            "strides": [1, 2, 2],
            "num_block_repeats": [1, 2, 2],
            "expand_ratios": [1, 3, 3],
            "depthwise_padding": [],
        },
        {
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "image_size": 224,
            "hidden_dim": 1280,
            "dropout_rate": 0.2,
        },
    ),
    _convnet(
        "mobilenet_v1",
        "MobileNetV1ForImageClassification",
        "depthwise",
        {"image_size": 32, "depth_multiplier": 0.125, "min_depth": 4},
        {"num_labels": 1001},
    ),
    _convnet(
        "mobilenet_v2",
        "MobileNetV2ForImageClassification",
        "residual depthwise",
        {"image_size": 32, "depth_multiplier": 0.125, "depth_divisible_by": 4, "min_depth": 4, "expand_ratio": 3},
        {"num_labels": 1001},
    ),
    _convnet(
        "bit",
        "BitForImageClassification",
        "residual norm_statistics",
        {"embedding_size": 8, "hidden_sizes": [16, 24, 32], "depths": [2, 1, 1], "num_groups": 4},
        {},
        note="Group norms before each convolution, whose weights are standardized on the fly.",
    ),
)
