"""Speech encoders that read the wave itself and label each moment."""

from __future__ import annotations

from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import VOCABULARY, Feed, floats, keywords
from niwaki.testing.families.hugging import Settings, hugging

TINY: Settings = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": [12, 18],
    "conv_kernel": [5, 3],
    "conv_stride": [4, 2],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
}
LARGE: Settings = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}


def _wave(batch: int, length: int) -> Feed:
    return keywords(input_values=floats(batch, length))


def _listener(name: str, model: str, tiny: Settings, real: Settings, note: str = "") -> Family:
    return hugging(
        name,
        model,
        "speech encoder attention norm_statistics parametrized",
        "channel neuron head hidden",
        {**TINY, **tiny},
        _wave(2, 80),
        real,
        _wave(1, 4000),
        note,
    )


FAMILIES = (
    _listener(
        "wav2vec2",
        "Wav2Vec2ForCTC",
        {},
        {},
        note="A group norm with a group a channel; a grouped convolution under weight norm tells the position.",
    ),
    _listener(
        "wav2vec2_large",
        "Wav2Vec2ForCTC",
        {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True},
        LARGE,
        note="Layer norms between convolutions, and before each block instead of after.",
    ),
    _listener("hubert", "HubertForCTC", {}, {}),
)
