"""Text decoders with a mixture of experts."""

from __future__ import annotations

from niwaki.testing.families.decoders import LLAMA_LIKE, PLAIN, WIDE_HEADS
from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import tokens
from niwaki.testing.families.hugging import Settings, hugging

CHOICE: Settings = {"num_experts": 3, "num_experts_per_tok": 2}
LOCAL: Settings = {"num_local_experts": 3, "num_experts_per_tok": 2}


def _moe(
    name: str,
    model: str,
    more: str,
    tiny: Settings,
    real: Settings,
    *,
    note: str = "",
    groups: str = "kv_group head_dim",
) -> Family:
    return hugging(
        name,
        model,
        f"text decoder attention rotary gated moe norm_statistics {more}",
        f"neuron head hidden expert {groups}",
        tiny,
        tokens(),
        real,
        tokens(1, 16, 1000),
        note,
    )


FAMILIES = (
    _moe("mixtral", "MixtralForCausalLM", "grouped_query grouped_mm", {**WIDE_HEADS, **LOCAL}, {}),
    _moe(
        "mixtral_loop",
        "MixtralForCausalLM",
        "grouped_query reads_values",
        {**WIDE_HEADS, **LOCAL, "experts_implementation": "eager"},
        {"experts_implementation": "eager"},
        note="Goes through the experts one by one, as they all did before grouped products.",
    ),
    _moe(
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        "grouped_query grouped_mm",
        {**LLAMA_LIKE, **CHOICE, "moe_intermediate_size": 20, "shared_expert_intermediate_size": 28},
        {},
        note="A gated expert that every token visits stands beside those that are chosen.",
    ),
    _moe(
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        "grouped_query grouped_mm",
        {**WIDE_HEADS, **CHOICE, "moe_intermediate_size": 20, "norm_topk_prob": True},
        {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "norm_topk_prob": True,
        },
        note="Queries and keys are normed head by head.",
    ),
    _moe(
        "olmoe",
        "OlmoeForCausalLM",
        "grouped_mm",
        {**PLAIN, **CHOICE, "num_key_value_heads": 4},
        {"intermediate_size": 1024},
        groups="head_dim",
        note="Queries and keys are normed over all heads at once.",
    ),
    _moe(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        "low_rank_attention grouped_mm",
        {
            **PLAIN,
            "num_key_value_heads": 4,
            "moe_intermediate_size": 20,
            "n_routed_experts": 6,
            "n_shared_experts": 1,
            "n_group": 3,
            "topk_group": 2,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
            "q_lora_rank": 14,
            "kv_lora_rank": 10,
            "qk_nope_head_dim": 6,
            "qk_rope_head_dim": 2,
            "v_head_dim": 5,
        },
        {},
        groups="head_dim",
        note="Queries, and keys with values, pass through a narrow normed waist; experts come in groups.",
    ),
    _moe(
        "gpt_oss",
        "GptOssForCausalLM",
        "grouped_query fused_gate grouped_mm",
        {
            **WIDE_HEADS,
            **LOCAL,
            "sliding_window": 5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0},
        },
        {"num_hidden_layers": 24, "num_local_experts": 32},
        note="Gates and what they gate take turns along one axis; each head has a sink of its own.",
    ),
)
