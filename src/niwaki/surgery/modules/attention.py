"""Attention after a cut.

``torch.nn.functional.multi_head_attention_forward`` takes it that all heads together are as wide as the embedding, and
computes the scale from that; so a cut module gets a forward pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.errors import CannotFollow
from niwaki.surgery.modules.table import Change, adapter, surround


class CutMultiheadAttention(nn.MultiheadAttention):
    """:class:`torch.nn.MultiheadAttention` that takes its sizes from its tensors: E features come in, H heads of D
    dimensions read them, with ``in_proj_weight`` of shape (3 × H × D, E) and ``out_proj.weight`` of (E, H × D).

    Arguments, results and names of tensors are the original's. The scale is that of the uncut heads. A cut changes the
    class of the instance to this one; it is not meant to be built.
    """

    scale: float | None = None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As the original's, without the fused kernels."""
        if query.is_nested or key.is_nested or value.is_nested:
            raise ValueError("a cut attention layer does not take nested tensors: pad them, and give a mask")
        if is_causal and attn_mask is None:
            raise ValueError("is_causal is a hint about attn_mask, which must be given too")
        batched = query.dim() == 3
        q, k, v = (self._heads(x, batched) for x in self._project(query, key, value))
        is_causal = is_causal and key_padding_mask is None and not need_weights
        mask = _merged(None if is_causal else attn_mask, key_padding_mask, q, k)
        scale = self.head_dim**-0.5 if self.scale is None else self.scale
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * scale) @ k.transpose(-2, -1)
            weights = (scores if mask is None else scores + mask).softmax(dim=-1)
            weights = F.dropout(weights, dropout, self.training)
            found = weights @ v
        else:
            found = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal, scale=scale)
        # Called as the module that it is, which the stock function does not: whoever hooks it sees what it takes.
        found = self.out_proj(self._together(found, batched))
        return found, None if weights is None else _told(weights, batched, average_attn_weights)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of all heads: (…, H × D) each."""
        if self.in_proj_weight is not None and query is key and key is value:
            return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        separate = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        weights = separate if self.in_proj_weight is None else self.in_proj_weight.chunk(3)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))

    def _heads(self, x: Tensor, batched: bool) -> Tensor:
        """(batch, heads, positions, dimensions), from wherever the batch was."""
        if not batched:
            x = x.unsqueeze(0)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _together(self, x: Tensor, batched: bool) -> Tensor:
        """Back to (…, H × D), with the batch where it was."""
        x = x.transpose(1, 2).flatten(2)
        if not batched:
            return x.squeeze(0)
        return x if self.batch_first else x.transpose(0, 1)


def _merged(attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """One mask to add to the scores, (batch or 1, heads or 1, L or 1, S), out of ``attn_mask`` (L, S) or
    (batch × heads, L, S) and ``padding`` (batch, S) or (S)."""
    batch, heads, length, source = q.shape[0], q.shape[1], q.shape[2], k.shape[2]
    masks = []
    if attn_mask is not None:
        if attn_mask.dim() == 3 and attn_mask.shape[0] not in (1, batch * heads):
            raise ValueError(
                f"attn_mask of shape {tuple(attn_mask.shape)} is for {attn_mask.shape[0] // batch} heads, and "
                f"{heads} are left; leave out those that were cut"
            )
        shape = (
            (-1, heads, length, source) if attn_mask.dim() == 3 and attn_mask.shape[0] > 1 else (1, 1, length, source)
        )
        masks.append(_added(attn_mask, q.dtype).reshape(shape))
    if padding is not None:
        masks.append(_added(padding, q.dtype).reshape(batch, 1, 1, source))
    return masks[0] + masks[1] if len(masks) == 2 else masks[0] if masks else None


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Minus infinity where a boolean mask is true; a mask of numbers as it is."""
    if mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))


def _told(weights: Tensor, batched: bool, average: bool) -> Tensor:
    """The weights as they are returned: (batch, heads, L, S), averaged over heads if asked for."""
    if not batched:
        weights = weights.squeeze(0)
    return weights.mean(dim=-3) if average else weights


@contextmanager
def readable(model: nn.Module) -> Iterator[None]:
    """Inside, the model's attention layers run as they will after a cut: step by step, each axis by itself. The stock
    function views (batch × heads) as one axis, from which no head can be told. The answers are the same."""
    changed = [(m, type(m)) for m in model.modules() if _is_stock(m) and not _peculiar(m)]
    for module, _ in changed:
        _reclass(module)
    try:
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


def _is_stock(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Attention with torch's own forward pass, also of a class that adds other things to it."""
    return isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward


def _reclass(module: nn.Module) -> None:
    kind: Any = type(module)
    module.__class__ = _cut_class(kind)


@cache
def _cut_class(kind: type) -> type:
    """The class that runs after a cut, in front of the user's own if there is one."""
    if kind is nn.MultiheadAttention:
        return CutMultiheadAttention

    def remade(module: nn.Module) -> tuple[Any, ...]:  # a pickle cannot find the class by its name
        return _empty, (kind,), vars(module)

    return type(f"Cut{kind.__name__}", (CutMultiheadAttention, kind), {"__reduce__": remade, "__module__": __name__})


def _empty(kind: type) -> Any:
    cls: Any = _cut_class(kind)
    return cls.__new__(cls)


def _peculiar(module: nn.MultiheadAttention) -> bool:
    """Extra keys and values that belong to no position."""
    return module.bias_k is not None or module.bias_v is not None or module.add_zero_attn


@adapter(nn.MultiheadAttention, sets=("embed_dim", "kdim", "vdim"))
def _attention(module: Any, change: Change) -> None:
    """Heads of which nothing is left are gone; the scale stays that of the heads as they were."""
    name = "in_proj_weight" if module.in_proj_weight is not None else "q_proj_weight"
    weight, share = getattr(module, name), 3 if name == "in_proj_weight" else 1
    before = change.before[name][0] // share
    gone = {row for row in change.removed.get((name, 0), ()) if row < before}
    inside = before // module.num_heads
    if getattr(module, "scale", None) is None:
        module.scale = module.head_dim**-0.5
    kept = sum(any(h * inside + j not in gone for j in range(inside)) for h in range(module.num_heads))
    module.num_heads, module.head_dim = kept, weight.shape[0] // (share * kept)
    module.embed_dim = weight.shape[1]
    k, v = (weight, weight) if share == 3 else (module.k_proj_weight, module.v_proj_weight)
    module.kdim, module.vdim = k.shape[1], v.shape[1]


@surround(nn.MultiheadAttention)
def _attention_and_output(module: Any) -> None:
    """The class that runs with such sizes; and no fused kernel, which would take heads × dimensions for the width."""
    if _peculiar(module):
        raise CannotFollow("nn.MultiheadAttention with add_bias_kv or add_zero_attn cannot run after a cut")
    if _is_stock(module):
        _reclass(module)
    if not isinstance(module, CutMultiheadAttention):
        raise CannotFollow(
            f"{type(module).__name__} has a forward pass of its own on top of nn.MultiheadAttention, which cannot run"
            " after a cut. Register an adapter for it (nk.adapter) that makes it do so."
        )
    module._qkv_same_embed_dim = False  # what torch's fused encoder layer asks before it reads the weights


@surround(nn.TransformerEncoder)
def _encoder(module: Any) -> None:
    """Only the fused layers take nested tensors, and the encoder asks the first layer alone."""
    if any(isinstance(m, CutMultiheadAttention) for m in module.modules()):
        module.use_nested_tensor = False


@surround(nn.Transformer)
def _transformer(module: Any) -> None:
    """It checks its inputs against the width that it was built with."""
    for stack in (module.encoder, module.decoder):
        if isinstance(stack, (nn.TransformerEncoder, nn.TransformerDecoder)) and len(stack.layers):
            module.d_model = stack.layers[0].self_attn.embed_dim
            return


__all__ = ["CutMultiheadAttention", "readable"]
