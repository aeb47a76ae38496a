"""Genes that attend: by hand and fused, every layout of heads that people write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.testing.fuzz.layers import parameter
from niwaki.testing.fuzz.pool import IMAGE, TOKEN, Knobs, Size, Step, gene


@dataclass(frozen=True)
class Design:
    """What one attention does: how q, k, v are made and laid out, what happens to them, how the heads come back."""

    heads: int
    each: int
    shared: int
    layout: str
    sizes: str
    core: str
    extra: str
    causal: bool

    @property
    def inner(self) -> int:
        return self.heads * self.each


LAYOUTS = ("three layers", "3 h d", "h 3 d", "h d 3", "chunk", "split", "slices", "kv fused", "d h")
SIZES = ("written", "heads open", "each open", "from the tensor")
CORES = ("fused", "by hand", "fused scaled", "scaled by size", "einsum", "relu", "baddbmm", "cosine")
EXTRAS = ("none", "half rotary", "paired rotary", "bias", "norm", "unit", "head gate", "temperature", "pos key", "sink")


def designed(knobs: Knobs) -> Design:
    """An attention from numbers; zeros are three layers, two heads, nothing extra."""
    heads, each = knobs.of(2, 4, 3, 1), knobs.of(4, 2, 6)
    mixed = knobs.number()
    shared = (1, 1, 2)[mixed % 3] if heads % 2 == 0 else 1
    layout = LAYOUTS[knobs.number() % len(LAYOUTS)]
    rest = knobs.number()
    if shared > 1:
        layout = ("three layers", "kv fused")[rest % 2]
    core = CORES[rest % len(CORES)]
    extra = EXTRAS[(rest // 6) % len(EXTRAS)] if rest else "none"
    return Design(heads, each, shared, layout, SIZES[(mixed // 3) % 4], core, extra, bool(mixed // 12 % 2))


class Attention(nn.Module):
    """Self-attention after a design."""

    angles: Tensor
    table: nn.Parameter

    def __init__(self, width: int, tokens: int, design: Design, out: int) -> None:
        super().__init__()
        self.design = d = design
        small = d.inner // d.shared
        if d.layout == "three layers":
            self.q, self.k, self.v = nn.Linear(width, d.inner), nn.Linear(width, small), nn.Linear(width, small)
        elif d.layout == "kv fused":
            self.q, self.kv = nn.Linear(width, d.inner, bias=False), nn.Linear(width, 2 * small)
        else:
            self.qkv = nn.Linear(width, 3 * d.inner)
        self.proj = nn.Linear(d.inner, out)
        if d.extra == "norm":
            self.norm_q, self.norm_k = nn.LayerNorm(d.each), nn.RMSNorm(d.each)
        shapes = {
            "bias": (d.heads, tokens, tokens),
            "head gate": (d.heads, 1, 1),
            "temperature": (d.heads, 1, 1),
            "pos key": (tokens, d.each),
            "sink": (d.heads // d.shared, 1, d.each),
        }
        if d.extra in shapes:
            self.table = parameter(*shapes[d.extra])
        angles = torch.arange(tokens)[:, None] * 0.7 ** torch.arange(d.each // 2)
        self.register_buffer("angles", angles)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._split(x)
        q, k, v = self._dressed(q, k, v)
        k, v = self._shared(k), self._shared(v)
        y = self._attend(q, k, v)
        if self.design.extra == "head gate":
            y = y * self.table.sigmoid()
        return self.proj(self._merged(y, x))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        d = self.design
        if d.layout == "three layers":
            return self._heads(self.q(x)), self._heads(self.k(x), d.shared), self._heads(self.v(x), d.shared)
        if d.layout == "kv fused":
            k, v = self.kv(x).chunk(2, -1)
            return self._heads(self.q(x)), self._heads(k, d.shared), self._heads(v, d.shared)
        return self._unfused(self.qkv(x))

    def _unfused(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        d, (b, t) = self.design, y.shape[:2]
        if d.layout == "3 h d":
            parts: Any = y.reshape(b, t, 3, d.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            return parts[0], parts[1], parts[2]
        if d.layout == "h 3 d":
            q, k, v = y.view(b, t, d.heads, 3, d.each).unbind(3)
            return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if d.layout == "h d 3":
            y = y.view(b, t, d.heads, -1, 3).transpose(1, 2)
            return y[..., 0], y[..., 1], y[..., 2]
        if d.layout == "split":
            parts = y.split(d.inner, dim=-1)
        elif d.layout == "slices":
            n = y.shape[-1] // 3
            parts = y[..., :n], y[..., n : 2 * n], y[..., 2 * n :]
        else:
            parts = y.chunk(3, dim=-1)
        return self._heads(parts[0]), self._heads(parts[1]), self._heads(parts[2])

    def _heads(self, x: Tensor, shared: int = 1) -> Tensor:
        d, (b, t, n) = self.design, x.shape
        heads = d.heads // shared
        if d.layout == "d h":
            return x.view(b, t, -1, heads).permute(0, 3, 1, 2)
        if d.sizes == "written":
            return x.view(b, t, heads, d.each).transpose(1, 2)
        if d.sizes == "heads open":
            return x.view(b, t, -1, d.each).transpose(1, 2)
        if d.sizes == "each open":
            return x.unflatten(-1, (heads, -1)).movedim(2, 1)
        return x.reshape(b, t, heads, n // heads).permute(0, 2, 1, 3)

    def _dressed(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        extra = self.design.extra
        if extra == "half rotary":
            return self._turn_halves(q), self._turn_halves(k), v
        if extra == "paired rotary":
            return self._turn_pairs(q), self._turn_pairs(k), v
        if extra == "norm":
            return self.norm_q(q), self.norm_k(k), v
        if extra == "unit":
            return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v
        if extra == "pos key":
            return q, k + self.table, v
        if extra == "sink":
            sink = self.table.expand(k.shape[0], -1, -1, -1)
            return q, torch.cat([k, sink], 2), torch.cat([v, torch.zeros_like(sink)], 2)
        return q, k, v

    def _turn_halves(self, x: Tensor) -> Tensor:
        cos, sin = self.angles.cos().repeat(1, 2), self.angles.sin().repeat(1, 2)
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin

    def _turn_pairs(self, x: Tensor) -> Tensor:
        cos, sin = self.angles.cos(), self.angles.sin()
        left, right = x[..., 0::2], x[..., 1::2]
        return torch.stack([left * cos - right * sin, left * sin + right * cos], -1).flatten(-2)

    def _shared(self, x: Tensor) -> Tensor:
        d = self.design
        if d.shared == 1 or self._native():
            return x
        if d.sizes in ("written", "heads open"):
            return x.repeat_interleave(d.shared, dim=1)
        b, h, t, n = x.shape
        return x[:, :, None].expand(b, h, d.shared, t, n).reshape(b, h * d.shared, t, n)

    def _native(self) -> bool:
        return self.design.core.startswith("fused") and self.design.sizes == "from the tensor"

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        d = self.design
        if d.core.startswith("fused"):
            scale = d.each**-0.5 if d.core == "fused scaled" else None
            bias = self.table if d.extra == "bias" else None
            causal = d.causal and bias is None
            gqa = {"enable_gqa": True} if d.shared > 1 and self._native() else {}
            return F.scaled_dot_product_attention(q, k, v, bias, is_causal=causal, scale=scale, **gqa)
        return self._by_hand(q, k, v)

    def _by_hand(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        d = self.design
        if d.core == "cosine":
            q, k = q / (q.norm(dim=-1, keepdim=True) + 1e-3), k / (k.norm(dim=-1, keepdim=True) + 1e-3)
        scale = q.shape[-1] ** -0.5 if d.core == "scaled by size" else d.each**-0.5
        if d.core == "einsum":
            logits = torch.einsum("bhtd,bhsd->bhts", q, k) * scale
        elif d.core == "baddbmm":
            flat = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2))
            logits = flat.view(q.shape[0], -1, *flat.shape[1:]) * scale
        else:
            logits = (q * scale) @ k.transpose(-2, -1)
        weights = self._weights(logits)
        return torch.einsum("bhts,bhsd->bhtd", weights, v) if d.core == "einsum" else weights @ v

    def _weights(self, logits: Tensor) -> Tensor:
        d = self.design
        if d.extra in ("bias", "temperature"):
            logits = logits + self.table if d.extra == "bias" else logits * self.table
        if d.causal:
            future = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
            logits = logits.masked_fill(future, float("-inf"))
        return logits.relu().clamp(max=4.0) if d.core == "relu" else logits.softmax(-1)

    def _merged(self, y: Tensor, x: Tensor) -> Tensor:
        d, (b, t) = self.design, x.shape[:2]
        if d.layout == "d h":
            return y.permute(0, 2, 3, 1).flatten(2)
        if d.sizes == "written":
            return y.transpose(1, 2).reshape(b, t, d.inner)
        if d.sizes == "heads open":
            return y.transpose(1, 2).reshape(b, t, -1)
        return y.transpose(1, 2).flatten(2) if d.sizes == "each open" else torch.cat(y.unbind(1), -1)


@gene(TOKEN, weight=12)
def _attention(size: Size, knobs: Knobs) -> nn.Module:
    design = designed(knobs)
    return Attention(size.width, size.dims[0], design, knobs.of(size.width, 6))


@gene(TOKEN, weight=3)
def _residual_attention(size: Size, knobs: Knobs) -> nn.Module:
    design = designed(knobs)
    attention = Attention(size.width, size.dims[0], design, size.width)
    return Step(lambda m, x: x + m.attention(m.norm(x)), attention=attention, norm=nn.LayerNorm(size.width))


@gene(TOKEN, weight=2)
def _library_attention(size: Size, knobs: Knobs) -> nn.Module:
    """The attention and the encoder layer that come with torch."""
    heads = knobs.divisor(size.width)
    if knobs.below(3) == 2:
        return nn.TransformerEncoderLayer(
            size.width, heads, 6, 0.0, knobs.of("relu", "gelu"), batch_first=True, norm_first=knobs.of(True, False)
        )
    attention = nn.MultiheadAttention(size.width, heads, batch_first=True, bias=knobs.of(True, False))
    return Step(lambda m, x: x + m.attention(x, x, x)[0], attention=attention)


@gene(TOKEN, weight=1)
def _latent_queries(size: Size, knobs: Knobs) -> nn.Module:
    """Learned queries read the tokens: cross-attention as in Perceiver, pooling by attention."""
    count, width = knobs.of(3, 4), size.width
    queries, scale = parameter(count, width), width**-0.5
    steps = (
        lambda m, x: ((m.queries @ x.mT) * scale).softmax(-1) @ x,
        lambda m, x: F.scaled_dot_product_attention(m.queries.expand(x.shape[0], -1, -1), m.k(x), m.v(x)),
        lambda m, x: torch.einsum("qd,btd->bqt", m.queries, m.k(x)).softmax(-1) @ m.v(x),
    )
    return Step(knobs.of(*steps), queries=queries, k=nn.Linear(width, width), v=nn.Linear(width, knobs.of(6, 4)))


@gene(IMAGE, weight=2)
def _pixel_attention(size: Size, knobs: Knobs) -> nn.Module:
    """Attention between pixels, or between channels, on 1×1 convolutions."""
    c, inner = size.width, knobs.of(4, 6)
    way, scale = knobs.below(4), inner**-0.5

    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (m.q, m.k, m.v))
        if way == 0:
            y = v @ (q.mT @ k * scale).softmax(-1).mT
        elif way == 1:
            y = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT).softmax(-1) @ v
        elif way == 2:
            y = (k.softmax(-1) @ v.mT).mT @ q.softmax(1)
        else:
            y = F.scaled_dot_product_attention(q.mT, k.mT, v.mT).mT
        return x + m.out(y.reshape(x.shape[0], -1, *x.shape[2:]))

    layers = {name: nn.Conv2d(c, inner, 1) for name in ("q", "k", "v")}
    return Step(forward, **layers, out=nn.Conv2d(inner, c, 1))


@gene(IMAGE, weight=1)
def _window_attention(size: Size, knobs: Knobs) -> nn.Module | None:
    """Attention inside windows of 2 × 2, partitioned as in Swin."""
    c, h, w = size.dims
    if h % 2 or w % 2:
        return None
    attention = Attention(c, 4, designed(knobs), c)

    def forward(m: Any, x: Tensor) -> Tensor:
        b = x.shape[0]
        y = x.view(b, -1, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, x.shape[1])
        y = m.attention(y).view(b, h // 2, w // 2, 2, 2, -1)
        return y.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, h, w)

    return Step(forward, attention=attention)
