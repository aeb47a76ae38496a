"""Text decoders that predict the next word: what most people mean by a language model."""

from __future__ import annotations

from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import VOCABULARY, tokens
from niwaki.testing.families.hugging import Settings, hugging

SPECIAL: Settings = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT_LIKE: Settings = {
    **SPECIAL,
    "vocab_size": VOCABULARY,
    "n_positions": 19,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 40,
}
PLAIN: Settings = {
    **SPECIAL,
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 19,
}
LLAMA_LIKE: Settings = {**PLAIN, "num_key_value_heads": 2}
"""Two query heads read each key-value head."""
WIDE_HEADS: Settings = {**LLAMA_LIKE, "head_dim": 6}
"""Where the heads may be of any size, they do not add up to the hidden size."""


def _decoder(
    name: str,
    model: str,
    more: str,
    tiny: Settings,
    real: Settings,
    *,
    kinds: str = "neuron head hidden",
    note: str = "",
) -> Family:
    return hugging(
        name,
        model,
        f"text decoder attention norm_statistics {more}",
        kinds,
        tiny,
        tokens(),
        real,
        tokens(1, 16, 1000),
        note,
    )


def _llama_like(name: str, model: str, more: str, tiny: Settings, real: Settings, note: str = "") -> Family:
    kinds = "neuron head kv_group head_dim hidden"
    return _decoder(name, model, f"rotary grouped_query {more}", tiny, real, kinds=kinds, note=note)


OLDER = (
    _decoder("gpt2", "GPT2LMHeadModel", "tied_embeddings fused_qkv", GPT_LIKE, {}),
    _decoder(
        "gpt_neo",
        "GPTNeoForCausalLM",
        "tied_embeddings",
        {
            **SPECIAL,
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "intermediate_size": 40,
            "max_position_embeddings": 19,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
        },
        {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "attention_types": [[["global", "local"], 6]]},
    ),
    _decoder(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        "rotary fused_qkv parallel_block",
        {**PLAIN, "rotary_pct": 0.5},
        {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 8192,
        },
        note="Only half of each head is rotated (a quarter in the published one).",
    ),
    _decoder("gptj", "GPTJForCausalLM", "rotary parallel_block", {**GPT_LIKE, "rotary_dim": 4}, {}),
    _decoder(
        "opt",
        "OPTForCausalLM",
        "tied_embeddings",
        {
            **SPECIAL,
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 40,
            "max_position_embeddings": 19,
        },
        {},
    ),
    _decoder(
        "bloom",
        "BloomForCausalLM",
        "alibi fused_qkv tied_embeddings",
        {**SPECIAL, "vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        {"vocab_size": 250880, "hidden_size": 1024, "n_layer": 24, "n_head": 16},
        note="Its MLP is four times as wide as its stream, whatever the configuration says.",
    ),
    _decoder(
        "falcon",
        "FalconForCausalLM",
        "rotary fused_qkv grouped_query parallel_block tied_embeddings",
        {**PLAIN, "ffn_hidden_size": 40},
        {},
        note="All query heads read one key-value head.",
    ),
    _decoder(
        "codegen",
        "CodeGenForCausalLM",
        "rotary fused_qkv parallel_block",
        {**GPT_LIKE, "n_embd": 48, "n_head": 8, "rotary_dim": 4},
        {"n_embd": 1024, "n_layer": 20, "n_head": 16, "rotary_dim": 32, "vocab_size": 51200},
        note="Queries, values and keys are dealt out in four equal hands: heads can go only four at a time.",
    ),
)

NEWER = (
    _llama_like(
        "llama",
        "LlamaForCausalLM",
        "gated",
        WIDE_HEADS,
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
        },
    ),
    _llama_like("mistral", "MistralForCausalLM", "gated", {**WIDE_HEADS, "sliding_window": 5}, {}),
    _llama_like(
        "qwen2",
        "Qwen2ForCausalLM",
        "gated tied_embeddings",
        {**LLAMA_LIKE, "tie_word_embeddings": True},
        {
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        note="Queries, keys and values have biases; the output of attention has none.",
    ),
    _llama_like(
        "qwen3",
        "Qwen3ForCausalLM",
        "gated tied_embeddings",
        {**WIDE_HEADS, "tie_word_embeddings": True},
        {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
        note="Queries and keys are normed head by head.",
    ),
    _llama_like(
        "gemma2",
        "Gemma2ForCausalLM",
        "gated tied_embeddings",
        {**WIDE_HEADS, "sliding_window": 5, "query_pre_attn_scalar": 6},
        {},
        note="Norms before and after each block; the embedding is scaled by the root of the hidden size.",
    ),
    _llama_like(
        "gemma3",
        "Gemma3ForCausalLM",
        "gated tied_embeddings",
        {
            **WIDE_HEADS,
            "sliding_window": 5,
            "query_pre_attn_scalar": 6,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        {
            "vocab_size": 262144,
            "hidden_size": 1152,
            "intermediate_size": 6912,
            "num_hidden_layers": 26,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "sliding_window": 512,
        },
    ),
    _llama_like(
        "phi",
        "PhiForCausalLM",
        "parallel_block",
        LLAMA_LIKE,
        {
            "vocab_size": 51200,
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4},
        },
        note="Half of each head is rotated.",
    ),
    _llama_like(
        "phi3",
        "Phi3ForCausalLM",
        "gated fused_qkv",
        LLAMA_LIKE,
        {},
        note="One matrix makes queries, keys and values, and one the gate and what it gates.",
    ),
    _llama_like("stablelm", "StableLmForCausalLM", "gated", LLAMA_LIKE, {}, note="A quarter of each head is rotated."),
    _llama_like(
        "starcoder2",
        "Starcoder2ForCausalLM",
        "tied_embeddings",
        {**LLAMA_LIKE, "sliding_window": 5},
        {"bos_token_id": 0, "eos_token_id": 0},
    ),
    _llama_like(
        "olmo2",
        "Olmo2ForCausalLM",
        "gated",
        LLAMA_LIKE,
        {"vocab_size": 100352},
        note="Queries and keys are normed over all heads at once.",
    ),
    _llama_like(
        "cohere",
        "CohereForCausalLM",
        "gated parallel_block tied_embeddings",
        LLAMA_LIKE,
        {},
        note="Rotates neighbours, not halves.",
    ),
    _llama_like(
        "glm",
        "GlmForCausalLM",
        "gated",
        {**LLAMA_LIKE, "head_dim": 12},
        {},
        note="Rotates neighbours in the first half of each head.",
    ),
    _llama_like(
        "smollm3",
        "SmolLM3ForCausalLM",
        "gated tied_embeddings",
        {**LLAMA_LIKE, "no_rope_layers": [1, 0]},
        {},
        note="Some layers do not rotate at all.",
    ),
    _llama_like(
        "granite",
        "GraniteForCausalLM",
        "gated tied_embeddings",
        {
            **LLAMA_LIKE,
            "tie_word_embeddings": True,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
        },
        {
            "vocab_size": 49155,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.015625,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
        },
        note="Scales its streams by constants.",
    ),
)

FAMILIES = (*OLDER, *NEWER)
