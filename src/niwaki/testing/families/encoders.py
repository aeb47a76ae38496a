"""Text encoders, each with a head that labels the sentence, so that the hidden stream is no output."""

from __future__ import annotations

from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import VOCABULARY, tokens
from niwaki.testing.families.hugging import Settings, hugging

BERT_LIKE: Settings = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
    "num_labels": 5,
}


def _encoder(name: str, model: str, more: str, tiny: Settings, real: Settings, note: str = "") -> Family:
    return hugging(
        name,
        model,
        f"text encoder attention norm_statistics {more}",
        "neuron head hidden",
        {**BERT_LIKE, **tiny},
        tokens(),
        real,
        tokens(1, 16, 1000),
        note,
    )


FAMILIES = (
    _encoder("bert", "BertForSequenceClassification", "", {}, {}),
    _encoder(
        "distilbert",
        "DistilBertForSequenceClassification",
        "",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 40},
        {},
    ),
    _encoder(
        "albert",
        "AlbertForSequenceClassification",
        "shared_layers",
        {"embedding_size": 20},
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        note="One layer is called again and again.",
    ),
    _encoder(
        "roberta",
        "RobertaForSequenceClassification",
        "",
        {"type_vocab_size": 1},
        {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    _encoder("electra", "ElectraForSequenceClassification", "", {"embedding_size": 20}, {}),
    _encoder("mpnet", "MPNetForSequenceClassification", "relative_position", {}, {}),
    _encoder(
        "deberta_v2",
        "DebertaV2ForSequenceClassification",
        "relative_position",
        {
            "relative_attention": True,
            "position_buckets": 6,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
            "pooler_hidden_size": 32,
        },
        {
            "vocab_size": 128100,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "pooler_hidden_size": 768,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
        note="Content attends to position and back, over the same key and query matrices.",
    ),
    _encoder(
        "modernbert",
        "ModernBertForSequenceClassification",
        "rotary gated fused_qkv",
        {
            "local_attention": 4,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        {},
        note="Every third layer looks everywhere, the others around themselves.",
    ),
)
