"""Text decoders that remember in a state instead of looking back."""

from __future__ import annotations

from niwaki.testing.families.decoders import SPECIAL
from niwaki.testing.families.family import Family
from niwaki.testing.families.feeds import VOCABULARY, tokens
from niwaki.testing.families.hugging import Settings, hugging


def _recurrence(name: str, model: str, more: str, kinds: str, tiny: Settings, real: Settings, note: str = "") -> Family:
    return hugging(
        name,
        model,
        f"text decoder norm_statistics {more}",
        kinds,
        {**SPECIAL, "vocab_size": VOCABULARY, "num_hidden_layers": 2, **tiny},
        tokens(),
        real,
        tokens(1, 16, 1000),
        note,
    )


FAMILIES = (
    _recurrence(
        "mamba",
        "MambaForCausalLM",
        "state_space tied_embeddings",
        "neuron hidden state",
        {"hidden_size": 24, "state_size": 6, "conv_kernel": 4, "expand": 2, "time_step_rank": 5},
        {"vocab_size": 50280, "num_hidden_layers": 24},
        note="A neuron here is a channel of the scan, with its convolution and its gate.",
    ),
    _recurrence(
        "mamba2",
        "Mamba2ForCausalLM",
        "state_space tied_embeddings",
        "neuron head hidden state",
        {
            "hidden_size": 24,
            "tie_word_embeddings": True,
            "state_size": 6,
            "conv_kernel": 4,
            "expand": 2,
            "num_heads": 4,
            "head_dim": 12,
            "n_groups": 2,
            "chunk_size": 4,
        },
        {
            "vocab_size": 50288,
            "hidden_size": 768,
            "num_hidden_layers": 24,
            "num_heads": 24,
            "head_dim": 64,
            "n_groups": 1,
            "tie_word_embeddings": True,
        },
        note="One matrix makes the gate, the scan's input, its keys, its queries and its steps.",
    ),
    _recurrence(
        "recurrent_gemma",
        "RecurrentGemmaForCausalLM",
        "recurrent attention rotary gated grouped_query tied_embeddings",
        "neuron head hidden state",
        {
            "num_hidden_layers": 3,
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "lru_width": 28,
            "attention_window_size": 5,
        },
        {},
        note="Two linear recurrences, then one attention; the recurrence has gates in blocks, one a head.",
    ),
    _recurrence(
        "rwkv",
        "RwkvForCausalLM",
        "recurrent stream_is_output",
        "neuron",
        {"hidden_size": 24, "intermediate_size": 40, "context_length": 19},
        {"hidden_size": 768, "num_hidden_layers": 12},
        note="A mean over a past that decays channel by channel. Its states are outputs; one is the stream.",
    ),
)
