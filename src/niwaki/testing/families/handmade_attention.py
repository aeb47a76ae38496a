"""Attention as PyTorch offers it, and as it is written by hand for a Perceiver."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.families.feeds import VOCABULARY, alone, floats, ids, positional
from niwaki.testing.families.handmade import handmade


class Positioned(nn.Module):
    """Embeds words, and the places where they stand."""

    def __init__(self, vocabulary: int, longest: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(longest, width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))


class AttentionClassifier(nn.Module):
    """One ``nn.MultiheadAttention`` beside a shortcut, and the mean."""

    def __init__(self, vocabulary: int, longest: int, width: int, heads: int, labels: int) -> None:
        super().__init__()
        self.embed = Positioned(vocabulary, longest, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, labels)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        mixed, _ = self.attention(x, x, x)
        return self.head(self.norm(x + mixed).mean(dim=1))


class EncoderClassifier(nn.Module):
    """``nn.TransformerEncoder``, norms first, and the mean."""

    def __init__(self, vocabulary: int, longest: int, shape: tuple[int, int, int, int], labels: int) -> None:
        super().__init__()
        width, heads, inner, depth = shape
        self.embed = Positioned(vocabulary, longest, width)
        layer = nn.TransformerEncoderLayer(width, heads, inner, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.head = nn.Linear(width, labels)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(ids)).mean(dim=1))


class Translator(nn.Module):
    """``nn.Transformer`` between embeddings and a classifier of words."""

    def __init__(self, vocabulary: int, longest: int, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        width, heads, inner, depth = shape
        self.source, self.target = (Positioned(vocabulary, longest, width) for _ in range(2))
        self.transformer = nn.Transformer(width, heads, depth, depth, inner, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        length = target.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        return self.head(self.transformer(self.source(source), self.target(target), tgt_mask=ahead))


class CrossAttention(nn.Module):
    """Asks with one stream and looks into another; the two, and the heads, are of any width."""

    def __init__(self, width: int, context: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_context = nn.LayerNorm(width), nn.LayerNorm(context)
        self.q = nn.Linear(width, heads * head_dim, bias=False)
        self.kv = nn.Linear(context, 2 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        query = self.q(self.norm(x))
        key, value = self.kv(self.norm_context(context)).chunk(2, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class GatedMlp(nn.Module):
    """One matrix makes what is gated and its gate."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(self.norm(x)).chunk(2, dim=-1)
        return x + self.down(value * F.gelu(gate))


class Perceiver(nn.Module):
    """A few learned latents look again and again at a long input, and think in between."""

    def __init__(self, features: int, latents: tuple[int, int], inner: int, depth: int, labels: int) -> None:
        super().__init__()
        count, width = latents
        self.latents = nn.Parameter(torch.randn(count, width))
        self.look = nn.ModuleList(CrossAttention(width, features, 3, 7) for _ in range(depth))
        self.think = nn.ModuleList(CrossAttention(width, width, 4, 6) for _ in range(depth))
        self.mlps = nn.ModuleList(GatedMlp(width, inner) for _ in range(depth))
        self.head = nn.Linear(width, labels)

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents.expand(x.shape[0], -1, -1)
        for look, think, mlp in zip(self.look, self.think, self.mlps, strict=True):
            latents = look(latents, x)
            latents = mlp(think(latents, latents))
        return self.head(latents.mean(dim=1))


SENTENCE = alone(ids(2, 7))
TAGS = "text attention norm_statistics"

FAMILIES = (
    handmade(
        "torch_attention",
        f"{TAGS} encoder fused_qkv",
        "head hidden",
        partial(AttentionClassifier, VOCABULARY, 19, 32, 4, 5),
        SENTENCE,
        note="This attention insists that heads add up to the hidden size: to cut one without the other, replace it.",
    ),
    handmade(
        "torch_encoder",
        f"{TAGS} encoder fused_qkv",
        "neuron head hidden",
        partial(EncoderClassifier, VOCABULARY, 19, (32, 4, 40, 2), 5),
        SENTENCE,
        note="In eval mode and without gradients, PyTorch runs each layer as one fused operation.",
    ),
    handmade(
        "torch_transformer",
        f"{TAGS} encoder_decoder fused_qkv reads_values",
        "neuron head hidden",
        partial(Translator, VOCABULARY, 19, (32, 4, 40, 2)),
        positional(ids(2, 7), ids(2, 5)),
        partial(Translator, 37000, 512, (512, 8, 2048, 6)),
        positional(ids(1, 16, 1000), ids(1, 12, 1000)),
        note="Looks into the mask to see whether it is causal.",
    ),
    handmade(
        "perceiver",
        "attention gated norm_statistics",
        "neuron head head_dim hidden",
        partial(Perceiver, 10, (6, 32), 20, 2, 5),
        alone(floats(2, 12, 10)),
        note="The latents are a parameter; how many of them there are is an axis too.",
    ),
)
