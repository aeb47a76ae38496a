"""PyTorch's own attention modules: alone, crosswise, and in encoders and decoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from niwaki.testing.zoo.nursery import Inputs, Specimen, axes, ends, floats, planted, seeded, tags, ties


class Attending(nn.Module):
    """Attends to itself beside a shortcut, and asks for the weights or does not."""

    def __init__(self, told: bool, first: bool) -> None:
        super().__init__()
        self.told = told
        self.enter = nn.Linear(6, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=first)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(x + self.attention(x, x, x, need_weights=self.told)[0])


class Reading(nn.Module):
    """Learned questions read from features of other widths, some of which are padding."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.ask = nn.Linear(6, 16)
        self.keys, self.values = nn.Linear(5, 10), nn.Linear(5, 12)
        self.attention = nn.MultiheadAttention(16, 4, kdim=10, vdim=12, bias=bias, batch_first=True)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        found, _ = self.attention(
            self.ask(x), self.keys(memory), self.values(memory), key_padding_mask=padding, need_weights=False
        )
        return self.leave(found)


class Encoding(nn.Module):
    """A stack of encoder layers between two linear ones."""

    def __init__(self, norm_first: bool, activation: str) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(
            16, 4, dim_feedforward=24, activation=activation, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=False)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.encoder(self.enter(x)))


class Decoding(nn.Module):
    """Decoder layers, causal over their own sequence and open to another."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.other = nn.Linear(6, 16), nn.Linear(5, 16)
        layer = nn.TransformerDecoderLayer(16, 4, dim_feedforward=24, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 1)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.leave(self.decoder(self.enter(x), self.other(memory), tgt_mask=causal, tgt_is_causal=True))


class Translating(nn.Module):
    """The whole of nn.Transformer; it checks its inputs against the width that it was built with."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.other = nn.Linear(6, 16), nn.Linear(5, 16)
        self.transformer = nn.Transformer(16, 4, 1, 1, dim_feedforward=24, activation="gelu", batch_first=True)
        self.leave = nn.Linear(16, 4)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.leave(self.transformer(self.enter(source), self.other(target)))


SENTENCE = floats((2, 5, 6))
PAIR = floats((2, 5, 6), (2, 7, 5))
WIDTH = ends("enter", "leave")


def _padded() -> Inputs:
    return torch.randn(2, 5, 6), torch.randn(2, 7, 5), torch.arange(7) >= torch.tensor([[7], [4]])


def _heads(name: str) -> str:
    """The axes of one packed attention layer that go with its heads."""
    return f"{name}.in_proj_weight:0 {name}.in_proj_bias:0 {name}.out_proj.weight:1"


def _attending(name: str, told: bool, first: bool) -> Specimen:
    return Specimen(
        name,
        planted(Attending, told, first),
        SENTENCE,
        tags("attention residual balance"),
        blocks=WIDTH,
        prunable=axes("enter.weight:0 attention.in_proj_weight:0"),
        tied=ties(
            _heads("attention"),
            "enter.weight:0 attention.in_proj_weight:1 attention.out_proj.weight:0 attention.out_proj.bias:0 "
            "leave.weight:1",
        ),
    )


def _reading(name: str, bias: bool) -> Specimen:
    return Specimen(
        name,
        planted(Reading, bias),
        partial(seeded, _padded),
        tags("attention"),
        blocks=ends("ask", "leave") + axes("keys.weight:1 values.weight:1"),
        prunable=axes(
            "ask.weight:0 keys.weight:0 values.weight:0 attention.q_proj_weight:0 attention.out_proj.weight:0"
        ),
        tied=ties(
            "attention.q_proj_weight:0 attention.k_proj_weight:0 attention.v_proj_weight:0 attention.out_proj.weight:1",
            "ask.weight:0 attention.q_proj_weight:1",
            "keys.weight:0 attention.k_proj_weight:1",
            "values.weight:0 attention.v_proj_weight:1",
            "attention.out_proj.weight:0 leave.weight:1",
        ),
    )


def _stacked(
    name: str, build: Callable[[], nn.Module], inputs: Callable[[], Inputs], heads: str, more: str
) -> Specimen:
    """``heads``: the attention layers. ``more``: what is tied to the hidden features and to the neurons."""
    hidden, *neurons = more.split("; ")
    return Specimen(
        name,
        build,
        inputs,
        tags("attention residual norm statistics"),
        blocks=WIDTH,
        prunable=axes("enter.weight:0") + tuple(axes(chain)[0] for chain in neurons),
        tied=ties(hidden, *neurons, *(_heads(each) for each in heads.split())),
    )


ENCODER = (
    "enter.weight:0 encoder.layers.0.self_attn.in_proj_weight:1 encoder.layers.1.self_attn.out_proj.weight:0 "
    "encoder.layers.0.norm1.weight:0 encoder.layers.1.linear2.weight:0 encoder.norm.bias:0 leave.weight:1; "
    "encoder.layers.0.linear1.weight:0 encoder.layers.0.linear1.bias:0 encoder.layers.0.linear2.weight:1; "
    "encoder.layers.1.linear1.weight:0 encoder.layers.1.linear2.weight:1"
)

SPECIMENS = (
    _attending("attention_weights_unasked", False, False),
    _attending("attention_weights_dropped", True, True),
    _reading("attention_cross", True),
    _reading("attention_cross_bias_free", False),
    _stacked(
        "transformer_encoder",
        planted(Encoding, False, "relu"),
        SENTENCE,
        "encoder.layers.0.self_attn encoder.layers.1.self_attn",
        ENCODER,
    ),
    _stacked(
        "transformer_encoder_norm_first",
        planted(Encoding, True, "gelu"),
        SENTENCE,
        "encoder.layers.0.self_attn encoder.layers.1.self_attn",
        ENCODER,
    ),
    _stacked(
        "transformer_decoder",
        planted(Decoding),
        PAIR,
        "decoder.layers.0.self_attn decoder.layers.0.multihead_attn",
        "enter.weight:0 decoder.layers.0.self_attn.in_proj_weight:1 decoder.layers.0.multihead_attn.in_proj_weight:1 "
        "decoder.layers.0.norm3.weight:0 leave.weight:1; "
        "decoder.layers.0.linear1.weight:0 decoder.layers.0.linear2.weight:1",
    ),
    _stacked(
        "transformer_whole",
        planted(Translating),
        PAIR,
        "transformer.encoder.layers.0.self_attn transformer.decoder.layers.0.self_attn "
        "transformer.decoder.layers.0.multihead_attn",
        "enter.weight:0 other.weight:0 transformer.decoder.layers.0.multihead_attn.in_proj_weight:1 "
        "transformer.encoder.layers.0.norm2.weight:0 leave.weight:1; "
        "transformer.encoder.layers.0.linear1.weight:0 transformer.encoder.layers.0.linear2.weight:1; "
        "transformer.decoder.layers.0.linear1.weight:0 transformer.decoder.layers.0.linear2.weight:1",
    ),
)
