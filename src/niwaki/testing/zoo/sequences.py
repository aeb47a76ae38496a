"""Sequence models: gated and mixing MLPs, attention in several hands, experts, an LSTM."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.nursery import Specimen, axes, ends, floats, planted, tags, ties, tokens


class Glu(nn.Module):
    """Half of the hidden features gate the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 24)
        self.fc2 = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.glu(self.fc1(x), dim=-1))


class RmsNorm(nn.Module):
    """Divides by the root of the mean square, as language models write it out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class SwiGlu(nn.Module):
    """The gated MLP of language models, with the gate in a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 12, bias=False)
        self.norm = RmsNorm(12)
        self.gate = nn.Linear(12, 20, bias=False)
        self.up = nn.Linear(12, 20, bias=False)
        self.down = nn.Linear(20, 12, bias=False)
        self.leave = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = self.norm(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.leave(x)


class Mixer(nn.Module):
    """Mixes tokens and then channels, in Einstein's notation."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 12)
        self.tokens_in = nn.Parameter(torch.randn(5, 7))
        self.tokens_out = nn.Parameter(torch.randn(7, 5))
        self.mix = nn.Parameter(torch.randn(12, 10))
        self.leave = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        hidden = F.gelu(torch.einsum("bnc,nm->bmc", x, self.tokens_in))
        x = x + torch.einsum("bmc,mn->bnc", hidden, self.tokens_out)
        return self.leave(F.gelu(torch.einsum("...c,cd->...d", x, self.mix)))


class MultiheadAttention(nn.Module):
    """PyTorch's own attention, beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(x + self.attention(x, x, x, need_weights=False)[0])


class Encoder(nn.Module):
    """PyTorch's own encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, dim_feedforward=24, batch_first=True)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.layer(self.enter(x)).mean(dim=1))


class HandAttention(nn.Module):
    """Heads by view and transpose; with fewer keys than queries, each key-value head is repeated."""

    def __init__(self, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, 4
        self.enter = nn.Linear(6, 16)
        self.q = nn.Linear(16, heads * self.head_dim)
        self.k = nn.Linear(16, kv_heads * self.head_dim)
        self.v = nn.Linear(16, kv_heads * self.head_dim)
        self.o = nn.Linear(heads * self.head_dim, 16)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = self.k(x).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v(x).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        if self.kv_heads != self.heads:
            k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
            v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, -1))
        return self.leave(x)


class FusedAttention(nn.Module):
    """One matrix makes queries, keys and values; the softmax is written out."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.enter = nn.Linear(6, 16)
        self.qkv = nn.Linear(16, 3 * 16)
        self.proj = nn.Linear(16, 16)
        self.leave = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        attention = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
        y = attention.softmax(dim=-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return self.leave(x)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of head dimensions (i, i + half) by its own angle."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class RotaryAttention(nn.Module):
    """Rotates queries and keys by tables kept in buffers."""

    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16, bias=False) for _ in range(4))
        self.leave = nn.Linear(16, 4)
        angles = torch.outer(torch.arange(5.0), 10.0 ** -torch.arange(4.0)).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        q, k, v = (layer(x).unflatten(-1, (2, 8)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.leave(x + self.o(y.transpose(1, 2).flatten(2)))


class RelativeBias(nn.Module):
    """Adds a learned bias per head and distance, looked up by a table of indices."""

    distance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        self.qkv = nn.Linear(16, 48)
        self.bias_table = nn.Parameter(torch.zeros(2 * 5 - 1, 4))
        self.leave = nn.Linear(16, 4)
        steps = torch.arange(5)
        self.register_buffer("distance", steps[:, None] - steps[None, :] + 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.bias_table[self.distance.view(-1)].view(t, t, -1).permute(2, 0, 1)
        attention = (q @ k.transpose(-2, -1) + bias).softmax(dim=-1)
        return self.leave(x + (attention @ v).transpose(1, 2).reshape(b, t, c))


class Experts(nn.Module):
    """Sends each token to the expert that the router likes best, in a loop over experts."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 12)
        self.router = nn.Linear(12, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(12, 10), nn.GELU(), nn.Linear(10, 12)) for _ in range(3))
        self.leave = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).flatten(0, 1)
        weight, choice = self.router(x).softmax(dim=-1).max(dim=-1)
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = torch.nonzero(choice == i).squeeze(-1)
            y.index_add_(0, rows, expert(x[rows]) * weight[rows, None])
        return self.leave(x + y)


class BiasedRows(nn.Module):
    """Sums over features that a bias was added to: those that are zero are so no more."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.mix, self.leave = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(self.mix(torch.einsum("btd,bte->bde", x, x)).sum(1))


class BorrowedSize(nn.Module):
    """Takes the width of one layer for that of another, which happens to be as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.conv = nn.Linear(6, 8), nn.Conv1d(8, 8, 1)
        self.mix, self.leave = nn.Linear(8, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        batch, _, width = x.shape
        y = self.conv(x.transpose(1, 2))
        return self.leave(F.relu(self.mix(y.reshape(batch, width, -1).transpose(1, 2))))


class Tagger(nn.Module):
    """Embeds words, reads them both ways and labels each."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 10, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 4)

    def forward(self, ids: Tensor) -> Tensor:
        out, _ = self.lstm(self.emb(ids))
        return self.head(out)


SENTENCE = floats((2, 5, 6))
WIDTH = ends("enter", "leave")


def _attention(name: str, build: Callable[[], nn.Module], more: str = "") -> Specimen:
    return Specimen(name, build, SENTENCE, tags(f"attention residual later {more}"), blocks=WIDTH)


SPECIMENS = (
    Specimen(
        "glu_mlp",
        planted(Glu),
        floats((2, 6)),
        tags("mlp gate balance"),
        blocks=ends("fc1", "fc2"),
        prunable=axes("fc1.weight:0"),
        tied=ties("fc1.weight:0 fc1.bias:0 fc2.weight:1"),
    ),
    Specimen(
        "swiglu_rms_norm",
        planted(SwiGlu),
        SENTENCE,
        tags("mlp gate norm residual statistics"),
        blocks=WIDTH,
        prunable=axes("gate.weight:0 enter.weight:0"),
        tied=ties(
            "gate.weight:0 up.weight:0 down.weight:1",
            "enter.weight:0 norm.weight:0 gate.weight:1 up.weight:1 down.weight:0 leave.weight:1",
        ),
    ),
    Specimen(
        # A sentence is as long as it is: the tokens come in from outside.
        "biased_rows",
        planted(BiasedRows),
        SENTENCE,
        tags("mlp einsum must_block"),
        blocks=ends("enter", "leave") + axes("enter.weight:0"),
        prunable=axes("mix.weight:0"),
        tied=ties("mix.weight:0 leave.weight:1"),
    ),
    Specimen(
        "borrowed_size",
        planted(BorrowedSize),
        SENTENCE,
        tags("mlp must_block"),
        blocks=ends("enter", "leave") + axes("enter.weight:0 conv.weight:0"),
        prunable=axes("mix.weight:0"),
        tied=ties("mix.weight:0 leave.weight:1"),
    ),
    Specimen(
        "einsum_mixer",
        planted(Mixer),
        SENTENCE,
        tags("mlp einsum later"),
        blocks=WIDTH + axes("tokens_in:0"),
    ),
    _attention("multihead_attention", planted(MultiheadAttention)),
    _attention("transformer_encoder_layer", planted(Encoder), "norm"),
    _attention("hand_attention", planted(HandAttention, 4, 4)),
    _attention("grouped_query_attention", planted(HandAttention, 4, 2), "balance"),
    _attention("fused_qkv", planted(FusedAttention), "balance"),
    _attention("rotary_attention", planted(RotaryAttention)),
    _attention("relative_bias", planted(RelativeBias), "balance"),
    Specimen("experts", planted(Experts), SENTENCE, tags("mlp reads_values later"), blocks=WIDTH),
    Specimen(
        "lstm_tagger",
        planted(Tagger),
        tokens(20, 5),
        tags("recurrent embedding later"),
        blocks=axes("emb.weight:0 head.weight:0 head.bias:0"),
    ),
)
