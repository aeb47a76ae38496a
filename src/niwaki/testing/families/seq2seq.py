"""Encoders and decoders that read one sequence and write another.

They answer with the encoder's stream too; where one table of words serves both, no stream can be cut at all.
"""

from __future__ import annotations

from niwaki.testing.families.decoders import SPECIAL
from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import VOCABULARY, Feed, floats, ids, keywords
from niwaki.testing.families.hugging import Settings, hugging

BART_LIKE: Settings = {
    **SPECIAL,
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 44,
    "max_position_embeddings": 19,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
T5_LIKE: Settings = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 10,
    "relative_attention_max_distance": 12,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}


def _pairs(batch: int, read: int, write: int, vocabulary: int) -> Feed:
    return keywords(input_ids=ids(batch, read, vocabulary), decoder_input_ids=ids(batch, write, vocabulary))


def _seq2seq(name: str, model: str, more: str, tiny: Settings, real: Settings, note: str = "") -> Family:
    return hugging(
        name,
        model,
        f"text encoder_decoder attention norm_statistics stream_is_output {more}",
        "neuron head",
        tiny,
        _pairs(2, 7, 5, VOCABULARY),
        real,
        _pairs(1, 16, 12, 1000),
        note,
    )


TEXT = (
    _seq2seq("t5", "T5ForConditionalGeneration", "relative_position tied_embeddings", T5_LIKE, {}),
    _seq2seq(
        "t5_gated",
        "T5ForConditionalGeneration",
        "relative_position gated tied_embeddings",
        {**T5_LIKE, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        {
            "d_ff": 1024,
            "num_layers": 8,
            "num_heads": 6,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        note="Published with a head of its own, which newer versions of transformers tie; only its scale tells.",
    ),
    _seq2seq(
        "bart",
        "BartForConditionalGeneration",
        "tied_embeddings",
        BART_LIKE,
        {
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
    ),
    _seq2seq("mbart", "MBartForConditionalGeneration", "tied_embeddings", BART_LIKE, {"vocab_size": 250027}),
    _seq2seq(
        "pegasus",
        "PegasusForConditionalGeneration",
        "tied_embeddings",
        BART_LIKE,
        {
            "vocab_size": 96103,
            "encoder_layers": 16,
            "decoder_layers": 16,
            "scale_embedding": True,
        },
    ),
    _seq2seq(
        "marian",
        "MarianMTModel",
        "tied_embeddings",
        {**BART_LIKE, "decoder_start_token_id": 0, "activation_function": "swish", "scale_embedding": True},
        {
            "vocab_size": 58101,
            "pad_token_id": 58100,
            "decoder_start_token_id": 58100,
            "d_model": 512,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "decoder_ffn_dim": 2048,
            "max_position_embeddings": 512,
            "activation_function": "swish",
            "scale_embedding": True,
        },
    ),
)

WHISPER = hugging(
    "whisper",
    "WhisperForConditionalGeneration",
    "speech encoder_decoder attention norm_statistics tied_embeddings stream_is_output",
    "neuron head hidden",
    {**BART_LIKE, "num_mel_bins": 10, "max_source_positions": 8, "max_target_positions": 19},
    keywords(input_features=floats(2, 10, 16), decoder_input_ids=ids(2, 5)),
    {
        "d_model": 384,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "encoder_attention_heads": 6,
        "decoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "decoder_ffn_dim": 1536,
    },
    keywords(input_features=floats(1, 80, 3000), decoder_input_ids=ids(1, 12, 1000)),
    note="Two convolutions read the spectrum; keys have no bias. Of the two streams only the encoder's is an output.",
)

FAMILIES = (*TEXT, WHISPER)
